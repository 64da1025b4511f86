"""The application of `worker_app`, with the workflows of the suite for runners."""

from __future__ import annotations

from worker_app import app

from hephaestus_celery.testing.conformance.runner import workflows

__all__ = ["app", "workflows"]
