"""The Lua scripts: loads them from their files, and calls them by their hash."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Protocol, TypeGuard

from redis.exceptions import NoScriptError

from hephaestus_celery.storage.redis.connections import Connections
from hephaestus_celery.storage.redis.constants import CONSTANTS, Constant, with_constants
from hephaestus_celery.storage.redis.framing import is_of

NAMES = (
    *("create", "create_many", "claim", "complete", "suspend", "again", "retry", "fail", "renew", "seize"),
    *("deliver", "cancel", "delete", "schedule", "unschedule", "tick", "resend", "redirect", "resign"),
    *("load", "data", "candidates", "list", "select", "history", "report", "reports", "stage", "beginning", "tally"),
    *("standing", "settle", "undo"),
    *("events", "leave"),
    *("rerun", "copy", "hold"),
    *("pause", "pause_workflow"),
)

_NEEDS = re.compile(r"^-- needs: (.+)$", re.MULTILINE)
_FUNCTION = re.compile(r"^local function (\w+).*\n(?:(?:[ \t].*)?\n)*(?:end\n)?", re.MULTILINE)
"""A function: the lines below its first are indented or empty, and the last is its end, but where it stands on one line."""
_COMMENT = re.compile(r"--.*")
_WORD = re.compile(r"\w+")


def is_number(reply: Any) -> bool:
    """A number."""
    return type(reply) is int


def is_texts(reply: Any) -> bool:
    """A list of texts."""
    return _is_list(reply) and all(type(part) is bytes for part in reply)


def is_values(reply: Any) -> bool:
    """A list of texts, with None for each missing value."""
    return _is_list(reply) and all(part is None or type(part) is bytes for part in reply)


def _is_numbers(reply: Any) -> bool:
    return _is_list(reply) and all(type(part) is int for part in reply)


def _is_word_or_texts(reply: Any) -> bool:
    return type(reply) is bytes or is_texts(reply)


def _is_texts_or_none(reply: Any) -> bool:
    return reply is None or is_texts(reply)


def _is_word(reply: Any) -> bool:
    return type(reply) is bytes


def _is_named(reply: Any) -> bool:
    return is_texts(reply) and len(reply) > 0 and len(reply) % 2 == 0


def _is_page(reply: Any) -> bool:
    return _is_list(reply) and len(reply) > 0 and _is_named(reply[0]) and all(is_texts(row) for row in reply[1:])


def _is_rows(reply: Any) -> bool:
    return _is_list(reply) and all(is_texts(row) and len(row) > 0 for row in reply)


def _is_list(reply: Any) -> TypeGuard[list[Any]]:
    return type(reply) is list


FORMS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("schedule", "unschedule", "resign", "report", "redirect", "stage", "leave"), is_number),
    **dict.fromkeys(("create", "claim"), _is_word_or_texts),
    **dict.fromkeys(("tick", "seize", "cancel", "delete", "pause"), _is_named),
    **dict.fromkeys(("candidates", "beginning", "standing", "select", "tally"), _is_named),
    "create_many": _is_rows,
    "renew": _is_numbers,
    "resend": _is_word,
    "data": _is_texts_or_none,
    "list": _is_page,
}
"""The form of each script's reply, unless the reply is ``late``. Scripts without an entry reply with a list of texts."""
_PACKED = {"claim", "load", "complete", "cancel", "pause"}
"""The scripts that reply with a packed run. The last part of other replies may be data, which may look like a run."""


def compose(name: str) -> str:
    """The source of a script: its constants, what it uses of the parts that its ``-- needs:`` line names, and its own text."""
    return with_constants(without_unused(assemble(name)))


def assemble(name: str) -> str:
    """The text of a script behind the whole of each part that it needs, with the names of constants."""
    parts: dict[str, str] = {}
    own = _with_parts(f"{name}.lua", parts)
    return "".join([*parts.values(), own])


def without_unused(source: str) -> str:
    """A script without the functions that nothing in it calls: each function of a script is made anew in each call of it."""
    blocks = _blocks(source)
    used = {word for name, text in blocks if name is None for word in _words(text)}
    functions = {name: text for name, text in blocks if name is not None}
    found = used & functions.keys()
    while found:
        called = {word for name in found for word in _words(functions[name])} & functions.keys()
        found = called - used
        used |= called
    return "".join(text for name, text in blocks if name is None or name in used)


def _blocks(source: str) -> list[tuple[str | None, str]]:
    # The functions that stand by themselves, each with its name, and what stands between them.
    blocks: list[tuple[str | None, str]] = []
    end = 0
    for found in _FUNCTION.finditer(source):
        blocks += [(None, source[end : found.start()]), (found[1], found[0])]
        end = found.end()
    return [*blocks, (None, source[end:])]


def _words(code: str) -> set[str]:
    return set(_WORD.findall(_COMMENT.sub("", code)))


def _with_parts(path: str, parts: dict[str, str]) -> str:
    # Returns the source of a file. Adds the parts that the file needs, each after the parts that it needs itself.
    source = (resources.files("hephaestus_celery.storage.redis") / "lua" / path).read_text(encoding="utf-8")
    needed = _NEEDS.search(source)
    for part in needed[1].split() if needed else ():
        if part not in parts:
            found = _with_parts(f"parts/{part}.lua", parts)
            parts[part] = found
    return source


@functools.lru_cache(maxsize=1)  # the texts are long, and the same for all storages of a process
def _composed(_: tuple[tuple[str, Constant], ...]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """All scripts, as they are with the constants, and their hashes."""
    sources = {name: compose(name) for name in NAMES}
    return sources, {name: hashlib.sha1(source.encode()).hexdigest() for name, source in sources.items()}  # noqa: S324 - Redis names scripts so


class AsyncCall(Protocol):
    """Sends a command, and waits for its reply."""

    async def __call__(self, *command: str | int, fits: Callable[[Any], bool]) -> Any: ...


class Scripts:
    """Calls a script by name; sends it again to a server that has forgotten it (a restart, ``SCRIPT FLUSH``)."""

    def __init__(self) -> None:
        self.sources, self._hashes = map(dict, _composed(tuple(CONSTANTS.items())))

    def command(self, name: str, keys: Sequence[str], args: Sequence[str]) -> list[str | int]:
        """The command that runs a script which the server knows."""
        return ["EVALSHA", self._hashes[name], len(keys), *keys, *args]

    def call(
        self, connections: Connections, name: str, keys: list[str], args: list[str], *, run_id: str | None = None
    ) -> Any:
        """Run a script; if an operation is repeated, the script gives its first reply again.

        With ``run_id``, a run in the reply must have this id.
        """
        fits = fitting(name, run_id)
        try:
            return connections.call("EVALSHA", self._hashes[name], len(keys), *keys, *args, fits=fits)
        except NoScriptError:
            return connections.call("EVAL", self.sources[name], len(keys), *keys, *args, fits=fits)

    async def call_by(
        self, call: AsyncCall, name: str, keys: list[str], args: list[str], *, run_id: str | None = None
    ) -> Any:
        """As :meth:`call`, for a caller that awaits its replies."""
        fits = fitting(name, run_id)
        try:
            return await call("EVALSHA", self._hashes[name], len(keys), *keys, *args, fits=fits)
        except NoScriptError:
            return await call("EVAL", self.sources[name], len(keys), *keys, *args, fits=fits)


def fitting(name: str, run_id: str | None) -> Callable[[Any], bool]:
    """Says whether a reply is one of this script; with ``run_id``, a run in it must have this id."""
    form = FORMS.get(name, is_texts)
    packed = run_id if name in _PACKED else None
    return lambda reply: (form(reply) and (packed is None or is_of(packed, reply))) or reply == b"late"
