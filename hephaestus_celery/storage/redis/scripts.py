"""The Lua scripts: loaded from their files, called by their hash."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from hephaestus_celery.storage.redis.line import Line

NAMES = (
    *("create", "claim", "complete", "suspend", "retry", "fail", "renew", "seize"),
    *("deliver", "cancel", "schedule", "unschedule", "tick", "resend", "resign"),
    *("load", "data", "candidates", "list", "report", "reports"),
)


class Scripts:
    """Calls a script by name; a server that has forgotten it (a restart, ``SCRIPT FLUSH``) is given it again."""

    def __init__(self) -> None:
        folder = resources.files("hephaestus_celery.storage.redis") / "lua"
        prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
        self.sources = {name: prelude + (folder / f"{name}.lua").read_text(encoding="utf-8") for name in NAMES}
        self._hashes = {name: hashlib.sha1(source.encode()).hexdigest() for name, source in self.sources.items()}  # noqa: S324 - Redis names scripts so

    def call(self, line: Line, name: str, keys: list[str], args: list[str]) -> Any:
        """Run a script; every script answers a repeat of its operation with its first answer."""
        try:
            return line.call("EVALSHA", self._hashes[name], len(keys), *keys, *args)
        except NoScriptError:
            return line.call("EVAL", self.sources[name], len(keys), *keys, *args)
