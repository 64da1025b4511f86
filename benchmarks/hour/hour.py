"""What every scene has: a server, the shop in a folder, its workers, a terminal, and a look into the store."""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from redis import Redis

from benchmarks.hour.page import Scene
from benchmarks.hour.terminal import Terminal, UnexpectedError, environment, expect
from benchmarks.hour.workers import Workers
from benchmarks.shield import shielded
from hephaestus_celery import Hephaestus
from hephaestus_celery.client.standing import reasons
from hephaestus_celery.core.execution.standing import Reason
from hephaestus_celery.embedded import EmbeddedServer

PATIENCE_SECONDS = 120.0
_GLANCE_SECONDS = 0.05
_URL = "redis://localhost:6379/0"
_SHOP = Path(__file__).parent / "shop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many orders, and how many runs that are cancelled."""

    orders: int = 500
    cancelled: int = 10_000


class Hour:
    """The shop at work, while the ``with`` block runs; nothing of it is left afterwards."""

    folder: Path
    terminal: Terminal
    workers: Workers
    server: Redis
    hephaestus: Hephaestus
    """The shop's, as any process has it that imports it: for looks that are not part of the hour."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.scenes: list[Scene] = []
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            with shielded():
                self._set_up()
        except BaseException:  # Ctrl-C included: nothing may be left behind
            self._resources.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with shielded():
            self._resources.close()

    def tell(self, title: str, sentence: str) -> None:
        """End a scene: all that was typed and shown since the last one."""
        self.scenes.append(Scene(title=title, sentence=sentence, text=self.terminal.emptied()))
        print(f"{title or sentence}", file=sys.stderr)

    def show_file(self, title: str, sentence: str, name: str) -> None:
        """Show a file of the shop, as whoever wrote it has it."""
        text = (_SHOP / name).read_text().strip()
        self.scenes.append(Scene(title=title, sentence=sentence, text=text, language="python"))

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when it is so; ``UnexpectedError`` if that takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise UnexpectedError(f"{what}, within {PATIENCE_SECONDS:g} s")
            time.sleep(_GLANCE_SECONDS)

    def until_because(self, run: str, cause: str) -> Reason:
        """The reason why a run does not move, once it is this one."""
        found: Sequence[Reason] = ()

        def is_so() -> bool:
            nonlocal found
            instance = self.hephaestus.get(run)
            found = reasons(instance, self.hephaestus.storage, self.hephaestus.runner.fleet)
            return [each.cause for each in found] == [cause]

        self.until(is_so, f"{run} waits because of {cause}")
        return found[0]

    def ledger(self) -> Counter[str]:
        """How often each thing was done that cannot be taken back."""
        path = self.folder / "ledger.txt"
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    def count(self, **filters: Any) -> int:
        """How many runs match."""
        return self.hephaestus.count(**filters)

    def write(self, name: str, text: str) -> str:
        """Write a file of the shop."""
        (self.folder / name).write_text(text.replace(_URL, self._embedded.url))
        return text

    def mend(self, name: str, before: str, after: str) -> None:
        """Write ``mended.py``: what ``name`` becomes by a correction."""
        text = (self.folder / name).read_text()
        expect(text.count(before) == 1, f"{name} has {before!r} once")
        self.write("mended.py", text.replace(before, after))

    def _set_up(self) -> None:
        self.folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="hephaestus-hour-")))
        shop, temporary = self.folder / "shop", self.folder / "temporary"
        temporary.mkdir()
        shop.mkdir()
        self.folder = shop
        self._embedded = self._resources.enter_context(EmbeddedServer())
        for file in _SHOP.glob("*.py"):
            self.write(file.name, file.read_text())
        self.server = Redis(unix_socket_path=str(self._embedded.socket_path), decode_responses=False)
        self._resources.callback(self.server.close)
        self.terminal = Terminal(folder=shop, environment=environment(temporary))
        self.workers = self._resources.enter_context(Workers(self.terminal))
        sys.dont_write_bytecode = True  # of files that are about to change
        sys.path.insert(0, str(shop))
        module: Any = importlib.import_module("shop")
        module.app.loader.import_default_modules()
        self.hephaestus = self._resources.enter_context(module.hephaestus)
