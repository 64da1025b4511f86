"""The parts of a script without its own lines, so that a test may run other lines over them."""

from __future__ import annotations

from importlib import resources

from hephaestus_celery.storage.redis.scripts import compose


def parts_of(script: str) -> str:
    """The constants and the parts that a script needs, as the server is given them."""
    own = resources.files("hephaestus_celery.storage.redis") / "lua" / f"{script}.lua"
    first, _, _ = own.read_text(encoding="utf-8").partition("\n")
    return compose(script).partition(first)[0]
