"""A line to a server on which what the server says may be changed: a server as it can't be had here, such as an old one."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self


class Relay:
    """Listens on ``url``, passes on to a server's socket, and changes each part of its answers."""

    def __init__(self, server: Path, change: Callable[[bytes], bytes]) -> None:
        self._server, self._change = server, change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(5)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(caller,), daemon=True).start()

    def _pass_on(self, caller: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with caller, server, selectors.DefaultSelector() as selector:
            server.connect(str(self._server))
            selector.register(caller, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, caller)
            while True:
                for key, _ in selector.select():
                    source: Any = key.fileobj
                    data = source.recv(1 << 20)
                    if not data:
                        return
                    key.data.sendall(self._change(data) if source is server else data)
