"""The application that the demo runs, ``examples/verify_environment.py``: where it is, and what it reads."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hephaestus_celery
from hephaestus_celery.client.facade import Workflow
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.exceptions import ConfigurationError

NAME = "verify_environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What the demo uses of it."""

    hephaestus: Hephaestus
    workflow: type[Workflow]
    approval: type[Step[Any]]
    installed: Callable[[], Mapping[str, str]]


@contextlib.contextmanager
def environment(*, broker: str, events: Path, settings: Mapping[str, Any]) -> Generator[None]:
    """What the example and the workers, which inherit it, read. Nothing meant for another application gets in."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("CELERY_"):  # CELERY_BROKER_URL would lead to the user's own broker
            del os.environ[name]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_folder()), *filter(None, [before.get("PYTHONPATH")])])
    os.environ.update(HEPHAESTUS_BROKER=broker, VERIFY_EVENTS=str(events), VERIFY_SETTINGS=json.dumps(settings))
    if os.getuid() == 0:
        os.environ["C_FORCE_ROOT"] = "1"  # in a container one often is root, and Celery would say a word about it
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def load() -> Example:
    """Import it, which reads the :func:`environment`; ``ConfigurationError`` says what is missing."""
    if importlib.util.find_spec("packaging") is None:
        raise ConfigurationError("the demo needs the distribution packaging: pip install 'hephaestus-celery[embedded]'")
    spec = importlib.util.spec_from_file_location(NAME, _folder() / f"{NAME}.py")
    assert spec is not None  # noqa: S101 - there is a loader for .py
    assert spec.loader is not None  # noqa: S101 - see above
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return Example(
        hephaestus=module.hephaestus,
        workflow=module.VerifyDistribution,
        approval=module.Approval,
        installed=module.installed,
    )


def _folder() -> Path:
    """Where the examples are: in the package where it is installed, beside it in a working copy."""
    package = Path(hephaestus_celery.__file__).parent
    for folder in (package / "_examples", package.parent / "examples"):
        if (folder / f"{NAME}.py").is_file():
            return folder
    raise ConfigurationError(f"{NAME}.py is missing from {package}; install hephaestus-celery again")
