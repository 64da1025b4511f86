"""The application of workers that know the workflows of the pages of patterns: `celery -A pattern_app worker`."""

from __future__ import annotations

import pattern_flows  # noqa: F401 - defines them
from worker_app import app, hephaestus

__all__ = ["app", "hephaestus"]
