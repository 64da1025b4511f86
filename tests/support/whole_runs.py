"""A whole runtime by hand: real driver, scheduler and client over a real storage, in a world where chance decides what comes next.

Messages are taken in any order, lost or doubled. Several attempts are executed at once. Whoever calls the storage may die before
the call or right after it; workers and schedulers are replaced, and a client calls again. Time passes only when nothing else
is to be done, or when a step takes it.
"""

from __future__ import annotations

import contextlib
from collections import Counter

from given_time import GivenChance
from hypothesis import strategies as st

from hephaestus_celery import Hephaestus, LocalRunner, NotCancellableError, NotWaitingError, RunStateError
from hephaestus_celery.config import Settings
from hephaestus_celery.exceptions import AlreadyRunningError, InstanceNotFoundError
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.scheduler import Scheduler
from hephaestus_celery.storage.claims import Refusal

CHANGING = {
    *("create", "create_many", "claim", "commit", "settle", "undo", "tick", "resend", "seize", "deliver", "cancel"),
    *("rerun", "copy"),
}
"""The calls of a storage that change something: death before or after any other is death between two of these."""
STEPS = 3000  # until a run that has not ended counts as lost
WORKER = Worker(hostname="w1", task_id="t1")


class Died(BaseException):
    """The process of who calls is gone."""


class Mortal:
    """A storage whose callers may die, so many times."""

    def __init__(self, storage, draw):
        self._storage, self._draw, self.deaths = storage, draw, 0

    def __getattr__(self, name):
        found = getattr(self._storage, name)
        return self._deadly(found) if name in CHANGING else found

    def separate(self):
        return self

    def close(self):
        """It is its test's."""

    def _deadly(self, call):
        def called(*args, **options):
            dies = self._draw(st.sampled_from(["no"] * 12 + ["before", "after"])) if self.deaths else "no"
            if dies != "no":
                self.deaths -= 1
            if dies == "before":
                raise Died
            reply = call(*args, **options)
            if dies == "after":
                raise Died
            return reply

        return called


class Hand(LocalRunner):
    """Keeps messages until its world takes them."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def dispatch(self, messages):
        self.messages.extend(messages)


class World:
    """Runs of a :class:`WholeFlow`, one after the other, and who works on them. ``draw`` is chance."""

    def __init__(self, storage, clock, draw):
        self.clock, self._draw, self.whole = clock, draw, None
        self.storage, self.losses, self.mended = Mortal(storage, draw), 0, False
        self.executed: Counter[tuple[str, int]] = Counter()
        self.runner, self.held = Hand(), []
        self.hephaestus = Hephaestus(
            storage=self.storage,
            runner=self.runner,
            clock=clock,
            chance=GivenChance(5),
            settings=Settings(event_stream=100_000),
        )
        self._scheduler = None

    def close(self):
        self.hephaestus.close()

    def begin(self, key, number):
        """A step is executed; gives how often in this round."""
        self.executed[key, number] += 1
        return self.executed[key, number]

    # What clients do

    def start(self, id, *, deaths=0, losses=0):
        """Start a run, however often it takes; so many of its callers die from now on, and so many messages are lost."""
        self.storage.deaths, self.losses = deaths, losses
        self.executed.clear()

        def start():
            try:
                return self.hephaestus.start_instance(self.whole.flow, {}, id=id).run_id
            except AlreadyRunningError:
                return self.hephaestus.get(id).run_id

        return self.insist(start)

    def retry(self, run_id):
        """Retry a run, however often it takes; None where nothing is left that a retry could start."""

        def retry():
            try:
                return self.hephaestus.retry(run_id).run_id
            except (RunStateError, AlreadyRunningError):
                return self.hephaestus.get(run_id).retried_as

        return self.insist(retry)

    def insist(self, call):
        while True:
            try:
                return call()
            except Died:
                continue

    def cancel(self, run_id, *, compensate):
        def cancel():
            with contextlib.suppress(NotCancellableError):
                self.hephaestus.cancel(run_id, compensate=compensate)

        self.insist(cancel)

    def _resume(self, run_id):
        for step in sorted(self.hephaestus.get(run_id).waiting_steps, key=lambda step: step.key):
            behaviour = self.whole.behaviours.get(step.key)
            if behaviour is not None and behaviour.how == "waits":
                try:
                    self.hephaestus.resume(run_id, behaviour.event, {"event": behaviour.event}, step=step)
                except (Died, NotWaitingError, InstanceNotFoundError):
                    continue

    # What workers and schedulers do

    def _take(self):
        messages = self.runner.messages
        message = messages.pop(self._draw(st.integers(0, len(messages) - 1)))
        if self.losses and self._draw(st.integers(0, 9)) == 0:
            self.losses -= 1
            if self._draw(st.booleans()):
                return
            messages.append(message)  # it comes twice
        driver = self.hephaestus._resolved().driver
        try:
            attempt = driver.claim(
                message.workflow,
                message.run_id,
                message.activation,
                message.attempt,
                worker=WORKER,
                lane=driver.dispatcher.lane(message),
                token=message.token,
            )
        except Died:
            return
        if not isinstance(attempt, Refusal):
            self.held.append((attempt, driver.execute(attempt)))

    def _commit(self):
        driver = self.hephaestus._resolved().driver
        attempt, executed = self.held.pop(self._draw(st.integers(0, len(self.held) - 1)))
        try:
            self.runner.dispatch(driver.commit(attempt, executed).messages)
        except Died:
            pass
        finally:
            driver.release(attempt)

    def _look(self):
        driver = self.hephaestus._resolved().driver
        if self._scheduler is None:
            self._scheduler = Scheduler(lambda: driver, dispatch=self.runner.dispatch, worker=WORKER)
        try:
            return self._scheduler.look()
        except Died:
            self._scheduler = None
            return None

    def _pass_time(self):
        pause = self._look()
        self.clock.sleep(1.0 if pause is None else max(pause, 0.001))

    def go_on(self, run_id, *, cancel_at=None, compensate=False):
        """Until the run has ended, and nothing of it is left to do."""
        for number in range(STEPS):
            if number == cancel_at:
                self.cancel(run_id, compensate=compensate)
            moves = [
                *[self._take] * bool(self.runner.messages),
                *[self._commit] * bool(self.held),
            ]
            if moves:
                self._draw(st.sampled_from([*moves, moves[0], self._look]))()
                continue
            self._resume(run_id)
            if self.runner.messages:
                continue
            if self.hephaestus.get(run_id).status.final:
                return self.hephaestus.get(run_id)
            self._pass_time()
        raise AssertionError(f"the run does not end: {self.hephaestus.get(run_id)}")
