"""The application of `worker_app`, with the workflow that has all at once."""

from __future__ import annotations

import tour_flows
from worker_app import app

__all__ = ["app", "tour_flows"]
