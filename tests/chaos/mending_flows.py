"""A workflow whose runs fail by a bug until it is mended; imported by the workers and by the client."""

from __future__ import annotations

import os
from pathlib import Path

from chaos_flows import PATIENT, Work
from recorder import FOLDER

from hephaestus_celery import Done, Error, Ok, Unique, Workflow

MENDED = "mended"
LARGE = "x" * 60_000
"""A result that is copied in a slice of its own."""


class Quick(Work):
    """Hardly takes a moment, since there are hundreds of these runs."""

    seconds = (0.001, 0.01)


class Fetch(Quick):
    def answer(self, instance, config, context):
        return Ok("done", {"data": LARGE})


class Pack(Quick): ...


class Buggy(Quick):
    def answer(self, instance, config, context):
        mended = Path(os.environ[FOLDER], MENDED).exists()
        return Ok("done") if mended else Error("a bug", retry=False)


class Send(Quick): ...


class Mendable(Workflow):
    name = "chaos_mendable"
    unique = Unique("chaosmendable")
    default_retry = PATIENT
    initial_step = Fetch
    transitions = {
        (Fetch, "done"): Pack,
        (Pack, "done"): [Buggy, Send],
        (Buggy, "done"): Done,
        (Send, "done"): Done,
    }
