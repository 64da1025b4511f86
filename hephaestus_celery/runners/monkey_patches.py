"""What gevent or eventlet have replaced in this process."""

from __future__ import annotations

import sys
from typing import Any


def patched() -> bool:
    """Whether Python's threads are greenlets in this process."""
    return _library() is not None


def patched_by_eventlet() -> bool:
    """Whether they are greenlets of eventlet."""
    return _library() is not None and _library() is sys.modules.get("eventlet.patcher")


def original(module: str, name: str) -> Any:
    """An attribute of a module of Python, as it was before anybody patched it."""
    library = _library()
    if library is None:
        return getattr(sys.modules[module] if module in sys.modules else __import__(module), name)
    if library is sys.modules.get("gevent.monkey"):
        return library.get_original(module, name)
    return getattr(library.original(module), name)


def this_thread() -> int:
    """The number of the thread of the operating system that runs this."""
    return original("_thread", "get_ident")()


def _library() -> Any:
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return gevent
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return eventlet
    return None
