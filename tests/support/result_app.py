"""The application of `worker_app`, with workflows that give a result."""

from __future__ import annotations

import result_flows
from worker_app import app

__all__ = ["app", "result_flows"]
