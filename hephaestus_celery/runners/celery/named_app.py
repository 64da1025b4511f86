"""Finds the application that a command line names, as Celery's own ``-A`` does."""

from __future__ import annotations

from typing import Any

from celery.app.utils import find_app


def app_named(name: str) -> Any:
    """The application of ``module:attribute``, or the one of a module; raises what the import raises."""
    return find_app(name)
