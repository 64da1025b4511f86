"""Tests of calls that are made again with the same operation: they get the first reply, and change nothing."""

from __future__ import annotations

import functools

import pytest

from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.commits import Fail, Retry, Suspend
from hephaestus_celery.storage.resume_and_cancel import CancelRequest, Delivery

JOIN = {("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}
HOUR = 3_600_000_000
MINE = {"activation": Activation("a"), "fence": "mine", "entry": '{"kind":"attempt"}'}


def claimed(stand, edges=None, **fields):
    run = stand.start(edges)
    run.claim("a", fence="mine", **fields)
    return run


def commit(run, kind, **fields):
    values = {**MINE, "operation": "mine", "run_id": run.id, "durations": run.durations}
    return functools.partial(run.storage.commit, kind(**values, **fields))


def create(stand):
    run = stand.prepare()
    return run, functools.partial(stand.storage.create, run.new)


def claim(stand):
    run = stand.start()
    return run, functools.partial(run.claim, "a", fence="mine")


def claim_of_an_event(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go", '{"n":1}')
    return run, functools.partial(run.claim, "a", fence="mine")


def complete(stand):
    run = stand.start(JOIN)
    run.step("a")
    run.claim("b")
    return run, functools.partial(run.storage.commit, run.completion("b", result='{"n":1}'))


def complete_the_run(stand):
    run = claimed(stand, {("a", "ok"): ["done"]})
    return run, functools.partial(run.storage.commit, run.completion("a"))


def commit_after_the_end(stand):
    run = claimed(stand)
    run.cancel()
    return run, functools.partial(run.storage.commit, run.completion("a"))


def suspend(stand):
    run = claimed(stand)
    run.deliver("go", keep=True)
    return run, commit(run, Suspend, accepts={"go": "ok"}, timeout=None)


def retry(stand):
    run = claimed(stand)
    return run, commit(run, Retry, delay=HOUR)


def fail(stand):
    run = claimed(stand)
    return run, commit(run, Fail, failure="{}")


def seize(stand):
    run = claimed(stand, holder="task1")
    return run, functools.partial(run.seize, "a", holder="task1", fence="new")


def resend(stand):
    run = stand.start(lane="0:one")
    return run, functools.partial(run.resend, "a", operation="again")


def schedule(stand):
    run = stand.start()
    return run, functools.partial(run.schedule, "a", delay=HOUR)


def unschedule(stand):
    run = stand.start()
    run.schedule("a", delay=HOUR)
    return run, functools.partial(run.unschedule, "a", operation="back")


def deliver(stand):
    run = stand.start()
    run.wait_at("a")
    return run, functools.partial(run.storage.deliver, delivery(run, key="evt_1"))


def keep(stand):
    run = stand.start()
    return run, functools.partial(run.storage.deliver, delivery(run, key=None))


def cancel(stand):
    run = stand.start()
    request = CancelRequest(
        run_id=run.id, operation="cancel", reason="enough", entry='{"kind":"cancel"}', durations=run.durations
    )
    return run, functools.partial(run.storage.cancel, request)


def delivery(run, *, key):
    reference = RunReference(id=run.id)
    fields = {"name": "go", "data": '{"n":1}', "step": None, "keep": True, "key": key, "durations": run.durations}
    return Delivery(operation="mine", run=reference, **fields)


CALLS = [
    *(create, claim, claim_of_an_event, complete, complete_the_run, commit_after_the_end, suspend, retry, fail),
    *(seize, resend, schedule, unschedule, deliver, keep, cancel),
]


@pytest.fixture(params=CALLS, ids=lambda call: call.__name__)
def case_of_a_call(request, stand):
    """A run, and a call about it that is made more than once."""
    return request.param(stand)


def stored(run):
    return run.load(), list(run.history())


def test_a_call_that_is_made_again_gets_the_same_reply(case_of_a_call):
    _, call = case_of_a_call
    assert call() == call()


def test_a_call_that_is_made_again_changes_nothing(case_of_a_call):
    run, call = case_of_a_call
    call()
    before = stored(run)
    call()
    assert stored(run) == before


def test_a_timer_that_is_set_again_after_it_was_taken_back_stays_so(stand):
    run = stand.start()
    assert run.schedule("a", delay=HOUR)
    assert run.unschedule("a")
    assert run.schedule("a", delay=HOUR)
    assert not run.unschedule("a", operation="another")
