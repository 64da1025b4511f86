"""How hard Hypothesis tries here."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("properties", settings.get_profile("ours"), max_examples=150)
settings.load_profile("properties")
