"""The application of workers that know workflows with types: `celery -A typed_app worker`."""

from __future__ import annotations

import typed_flows  # noqa: F401 - defines them
from worker_app import app, hephaestus

__all__ = ["app", "hephaestus"]
