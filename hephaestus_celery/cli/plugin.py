"""The plugin ``celery -A shop hephaestus``: the commands that need an application.

Celery finds the group through the entry point group ``celery.commands``, and loads it with every ``celery`` command: so
nothing but click is imported before a command of ours is called.
"""

from __future__ import annotations

import click

from hephaestus_celery.cli.command_group import CommandGroup

_COMMANDS = "hephaestus_celery.cli.commands"
COMMANDS = {
    "cancel": f"{_COMMANDS}.cancel:cancel",
    "delete": f"{_COMMANDS}.delete:delete",
    "doctor": f"{_COMMANDS}.doctor:doctor",
    "events": f"{_COMMANDS}.events:events",
    "fork": f"{_COMMANDS}.rerun:fork",
    "graph": f"{_COMMANDS}.graph:graph",
    "history": f"{_COMMANDS}.history:history",
    "list": f"{_COMMANDS}.list_runs:list_runs",
    "pause": f"{_COMMANDS}.pause:pause",
    "resume": f"{_COMMANDS}.resume:resume",
    "retry": f"{_COMMANDS}.rerun:retry",
    "scheduler": f"{_COMMANDS}.scheduler:scheduler",
    "show": f"{_COMMANDS}.show:show",
    "start": f"{_COMMANDS}.start:start",
    "stats": f"{_COMMANDS}.stats:stats",
    "unpause": f"{_COMMANDS}.pause:unpause",
    "wait": f"{_COMMANDS}.wait:wait",
    "watch": f"{_COMMANDS}.watch:watch",
    "worker": f"{_COMMANDS}.worker:worker",
    "workflows": f"{_COMMANDS}.workflows:workflows",
}
"""Where each command is, as ``module:attribute``."""


@click.group(cls=CommandGroup, places=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runtime", metavar="NAME", help="Which Hephaestus of the application, where it has several.")
def hephaestus(*, runtime: str | None) -> None:
    """See, start and steer the workflows of this application.

    RUN is an instance id, a run id, or the beginning of a run id (8 characters or more) that no other run has.
    """
    del runtime  # commands read it from their context, see `application.py`
