"""How far a worker has come with a message (claim, execution, commit), kept on its Celery request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hephaestus_celery.clock import Chance
from hephaestus_celery.runners.after_commit import Outcome
from hephaestus_celery.runners.attempt import Executed, HeldAttempt

_PROGRESS = "hephaestus_progress"


@dataclass(slots=True)
class Progress:
    """The progress of a message so far, for the receivers of the task's signals.

    ``given_up``: the store was away for so long that what was executed could not be committed.
    """

    fence: str
    attempt: HeldAttempt | None = None
    refusal: str | None = None
    executed: Executed | None = None
    interruptions: int = 0
    outcome: Outcome | None = None
    emitted_start: bool = False
    followed: bool = False
    given_up: bool = False


def progress_of(request: Any, *, chance: Chance) -> Progress:
    """The progress of a request. Celery makes attributes of all headers of a message, so only our own type counts."""
    found = getattr(request, _PROGRESS, None)
    if not isinstance(found, Progress):
        found = Progress(chance.token())
        setattr(request, _PROGRESS, found)
    return found
