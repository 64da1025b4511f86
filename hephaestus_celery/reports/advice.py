"""Advice that names a command line: with the application as it is called there."""

from __future__ import annotations


def for_application(advice: str, application: str) -> str:
    """An advice with the application, as ``-A`` names it, in the place of ``APP``."""
    return advice.replace("celery -A APP ", f"celery -A {application} ")
