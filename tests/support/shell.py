"""Commands of ``celery -A shop hephaestus``, called in this process on the application of a test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from celery.bin.base import CLIContext
from click.testing import CliRunner

from hephaestus_celery.cli.plugin import hephaestus


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    errors: str

    @property
    def document(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.output)

    @property
    def lines(self) -> list[str]:
        """The lines that it printed."""
        return self.output.splitlines()


class Shell:
    """Calls commands; ``stdin`` is what a command reads."""

    def __init__(self, app: Any) -> None:
        self._context = CLIContext(app=app, no_color=False, workdir=None)

    def __call__(self, *arguments: str, stdin: str | None = None, environment: dict[str, str] | None = None) -> Ended:
        found = CliRunner().invoke(
            hephaestus,
            list(arguments),
            obj=self._context,
            input=stdin,
            env=environment,
            prog_name="celery hephaestus",
            auto_envvar_prefix="CELERY_HEPHAESTUS",
        )
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Ended(code=found.exit_code, output=found.stdout, errors=found.stderr)
