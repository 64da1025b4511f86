"""An interruption that was meant for another attempt costs this one nothing; one that comes each time is its own."""

from __future__ import annotations

import secrets

import pytest
from defining import A, B, define

from hephaestus_celery import Done, Ok, RetryPolicy, Step, route
from hephaestus_celery.runners import execution
from hephaestus_celery.runners.attempt import Worker
from tests.support.starting import create


class StruckError(Exception):
    """What a pool puts into what it executes."""


WORKER = Worker(
    task_id="t", stop_exceptions=(StruckError,), is_interruption=lambda error: isinstance(error, StruckError)
)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(execution, "NOTICE_SECONDS", 0)


@pytest.mark.parametrize("where", ["step", "route"])
@pytest.mark.parametrize(("strikes", "outcome"), [(1, "ok"), (3, "ok"), (4, "retrying"), (10**9, "retrying")])
def test_what_is_interrupted_again_and_again_is_a_failed_attempt(make_driver, where, strikes, outcome):
    struck = []

    def strike():
        if len(struck) < strikes:
            struck.append(where)
            raise StruckError

    class Long(Step):
        events = ("ok",)
        retry = RetryPolicy(max_attempts=2)

        def execute(self, instance, config, context):
            if where == "step":
                strike()
            return Ok("ok")

    def choose(context):
        if where == "route":
            strike()
        return A

    flow = define(
        name=f"struck.{secrets.token_hex(6)}",
        initial_step=Long,
        transitions={(A, "ok"): Done, (B, "ok"): Done},
        choose=route(Long, "ok", targets=[A, B])(choose),
    )
    driver = make_driver()
    [message] = create(driver, flow, id="orderid::a1")[1]
    attempt = driver.claim(message.workflow, message.run_id, message.activation, 1, worker=WORKER)
    assert driver.commit(attempt, driver.execute(attempt)).label == outcome
    assert len(struck) == min(strikes, 4)
    driver.release(attempt)
    entry = driver.storage.history(message.run_id)[-1]
    assert entry.outcome == ("completed" if outcome == "ok" else "retrying")
