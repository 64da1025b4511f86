"""Turns and pauses of commits whose ``@route`` was computed on a run that has changed meanwhile.

A route is computed on the completed steps, and its commit is refused if more have completed meanwhile. Each refusal means
that another branch went on, so this ends. But each of a thousand branches could compute its route a thousand times. So the
branches of one process take turns, and pause before they try again, longer after each refusal.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.locks import Turns

Route = tuple[type, str]
"""A step and its event."""

_PLACES = 64  # runs that share a place also take turns, which costs a moment
_LONGEST = 0.25  # seconds
_LONGEST_TURN = 30.0  # seconds, for hundreds of threads


class Contention:
    """Orders the threads that compute a route of a run again."""

    def __init__(self, *, clock: Clock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance
        self._turns = [Turns(longest_wait=_LONGEST_TURN) for _ in range(_PLACES)]
        self._calm: WeakKeyDictionary[type, set[Route]] = WeakKeyDictionary()

    def note_refusal(self, workflow: type) -> None:
        """Note that a commit of this workflow was refused."""
        self._calm.setdefault(workflow, set())

    def note_calm(self, workflow: type, route: Route) -> None:
        """Note that a route has accessed nothing that other branches change."""
        if workflow in self._calm:
            self._calm[workflow].add(route)

    def is_likely(self, workflow: type, route: Route) -> bool:
        """Whether a route should wait for its turn: commits of its workflow were refused, and it may access everything."""
        return workflow in self._calm and route not in self._calm[workflow]

    @contextmanager
    def turn(self, run_id: str) -> Generator[None]:
        """Run the block when no other thread of this process decides about the run, or after half a minute."""
        with self._turns[hash(run_id) % _PLACES].turn():
            yield

    def pause(self, *, refusals: int, nanoseconds: int) -> None:
        """Pause after so many refusals, for a random time up to a few times of what deciding takes."""
        most = min(_LONGEST, nanoseconds / 1e9 * 2 ** min(refusals, 5))
        self._clock.sleep(self._chance.fraction() * most)
