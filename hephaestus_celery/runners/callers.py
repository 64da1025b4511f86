"""Executes steps on the threads of callers, for a runner that has none: each call takes its run as far as it goes.

Messages wait in a list of the call that has caused them, so a long run is no deep recursion. A step that starts a run, or
resumes one, takes that one further before it goes on itself. What comes due later is taken by the next call, or by the one that
waits. Nothing is lost between calls: all state is in the storage.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.scheduler import SLICE_SECONDS, Scheduler

logger = logging.getLogger("hephaestus_celery")

_LEAST_PAUSE = 0.001  # seconds between two looks, where another thread handles what is due


class CallersThreads:
    """The threads of callers.

    ``drive`` executes the step of a message, and gives the messages that follow from it. ``note`` is told of each message that waits
    here, and ``forget`` of one that nobody will execute.
    """

    def __init__(
        self,
        *,
        drive: Callable[[Message], Sequence[Message]],
        note: Callable[[Sequence[Message]], None],
        forget: Callable[[Message], None],
        scheduler: Callable[[Callable[[Sequence[Message]], None], Callable[[], bool]], Scheduler],
    ) -> None:
        self._drive, self._note, self._forget = drive, note, forget
        self._found: deque[Message] = deque()
        self._looking = threading.Lock()
        self._counting = threading.Lock()
        self._executing = 0
        self._scheduler = scheduler(self._found.extend, self._is_idle)

    def run(self, messages: Sequence[Message]) -> None:
        """Execute the steps of these messages, what follows from them, and what is due by then."""
        waiting: deque[Message] = deque()
        following = messages
        try:
            while following or waiting:
                self._note(following)
                waiting.extend(following)
                following = self._execute(waiting.popleft()) if waiting else ()
                if not (following or waiting):
                    following = self._due()[0]
        finally:
            for message in waiting:  # the thread was interrupted
                self._forget(message)

    def catch_up(self) -> float:
        """Execute what is due, and what follows from it; gives the seconds until the next look."""
        found, pause = self._due()
        self.run(found)
        return self._due()[1] if found else pause

    def close(self) -> None:
        """Give up what the looks at what is due have held."""
        self._scheduler.leave()

    def _execute(self, message: Message) -> Sequence[Message]:
        with self._counting:
            self._executing += 1
        try:
            # A copy of the caller's contextvars: what a step sets there is not the caller's.
            return contextvars.copy_context().run(self._drive, message)
        except Exception:
            # No error of a step comes here. The storage sends the step again.
            logger.exception("[%s] step %s could not be driven", message.run_id, message.step)
            return ()
        finally:
            with self._counting:
                self._executing -= 1

    def _is_idle(self) -> bool:
        # An attempt that is being executed is never taken away, since nobody renews its lease.
        return not self._executing

    def _due(self) -> tuple[Sequence[Message], float]:
        # What is due, and the seconds until more is. While another thread looks, that one takes it.
        if not self._looking.acquire(blocking=False):
            return (), _LEAST_PAUSE
        try:
            pause = self._scheduler.look()
            found = list(self._found)
            self._found.clear()
        except StorageError as error:
            logger.info("what is due waits for the state store: %s", error)
            return (), SLICE_SECONDS
        except Exception:
            logger.exception("an error stands in the way of what is due; it is due again later")
            return (), SLICE_SECONDS
        finally:
            self._looking.release()
        return found, max(_LEAST_PAUSE, min(pause, SLICE_SECONDS))
