"""The module in which a class is defined, by the name under which other processes import it."""

from __future__ import annotations

import sys
from pathlib import Path

MAIN = "__main__"


def place_of(cls: type) -> str:
    """The module and the name of a class.

    Only the program itself knows its module as ``__main__``. A worker imports it by the name of its file and of the packages
    around it. It stays ``__main__`` if there is no file, such as at a prompt.
    """
    return f"{_module_of(cls)}.{cls.__qualname__}"


def _module_of(cls: type) -> str:
    main = sys.modules.get(MAIN)
    if cls.__module__ != MAIN or main is None:
        return cls.__module__
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m shop.flows
        return spec.name
    path = Path(getattr(main, "__file__", None) or "").resolve()
    if not path.is_file():
        return MAIN
    names = [path.stem]
    while (path.parent / "__init__.py").is_file():
        path = path.parent
        names.insert(0, path.name)
    return ".".join(names)
