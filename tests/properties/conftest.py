"""How hard Hypothesis tries: a failure prints what reproduces it, and a slow machine fails nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ci", deadline=None, max_examples=150, derandomize=False, print_blob=True)
settings.load_profile("ci")
