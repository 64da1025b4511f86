"""The parts of a script without its own lines, so that a test may run other lines over them."""

from __future__ import annotations

from importlib import resources

from hephaestus_celery.storage.redis.constants import with_constants
from hephaestus_celery.storage.redis.scripts import assemble


def parts_of(script: str) -> str:
    """The constants and the whole of the parts that a script needs, whatever it uses of them."""
    own = resources.files("hephaestus_celery.storage.redis") / "lua" / f"{script}.lua"
    first, _, _ = own.read_text(encoding="utf-8").partition("\n")
    return with_constants(assemble(script).partition(first)[0])
