"""The application whose runs fail by a bug until it is mended: `celery -A mending_app worker`, and the caller that retries."""

from __future__ import annotations

from chaos_app import app, hephaestus
from mending_flows import Mendable

__all__ = ["app", "retry_all"]


def retry_all():
    """Retry all runs that the bug has failed."""
    return hephaestus.retry_many(workflow=Mendable, status="failed", by="the caller")
