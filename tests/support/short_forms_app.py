"""The application of `tests/acceptance/test_short_forms.py`, in its workers."""

from __future__ import annotations

import short_forms  # noqa: F401 - before the application, as an application's tasks often are
from worker_app import app  # noqa: F401 - the application
