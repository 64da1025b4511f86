"""The stylesheet of the pictures, as text: pages serve it as a file of their own, files hold a copy."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def stylesheet() -> str:
    """CSS for everything of the class ``hephaestus-picture``; its custom properties (``--hp-...``) may be set anew by a page.

    Colours are ``light-dark()``: which of both is shown follows the ``color-scheme`` of the page.
    """
    return resources.files("hephaestus_celery.pictures").joinpath("picture.css").read_text(encoding="utf-8")
