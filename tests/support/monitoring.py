"""What reaches a Redis server while a block runs."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from redis import Redis


@contextmanager
def monitored(server: Redis, note: Callable[[Mapping[str, Any]], None]) -> Generator[None]:
    """Call ``note`` with each command that the server gets while the block runs, in a thread of its own."""
    mark = f"end of {secrets.token_hex(8)}"

    def read() -> None:
        while True:
            seen = monitor.next_command()
            if mark in seen["command"]:
                return
            note(seen)

    with server.monitor() as monitor:
        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            server.echo(mark)
            thread.join(30)
