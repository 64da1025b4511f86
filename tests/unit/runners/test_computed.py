"""Where a computed route leads to is decided anew only where what it has looked at may have changed."""

from __future__ import annotations

import json
import secrets
import time

import pytest
from defining import A, B, C, a_step, define

from hephaestus_celery import Done, RetryPolicy, route
from hephaestus_celery.runners.attempt import Executed, Worker
from hephaestus_celery.runners.step_result import Completed
from tests.support.starting import create

MINE, OTHER = a_step("Mine", "ok"), a_step("Other", "ok")


def result_or_none(context, key):
    try:
        return context.result(key)
    except KeyError:
        return None


LOOKS = {
    "at nothing": (lambda context: None, 1),
    "at what was given": (lambda context: context.initial["n"], 1),
    "at its own result": (lambda context: context.result("mine"), 1),
    "at one that had completed": (lambda context: context.result("a"), 1),
    "at one that had not": (lambda context: result_or_none(context, "other"), 2),
    "at all": (lambda context: dict(context.steps), 2),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_route_is_asked_again_where_it_has_looked_at_what_may_change(make_driver, name):
    look, calls = LOOKS[name]
    asked = []

    def choose(context):
        asked.append(look(context))
        return B

    flow = define(
        name=f"computed.{secrets.token_hex(6)}",
        initial_step=A,
        transitions={(A, "ok"): [MINE, OTHER], (OTHER, "ok"): Done, (B, "ok"): Done, (C, "ok"): Done},
        choose=route(MINE, "ok", targets=[B, C])(choose),
    )
    driver = make_driver()

    def claimed(message):
        return driver.claim(message.workflow, message.run_id, message.activation, message.attempt, worker=Worker())

    def done(attempt):
        executed = Executed(result=Completed(event="ok", result=None, metadata=None), duration=0)
        return driver.commit(attempt, executed)

    [first] = create(driver, flow, id="orderid::a1", context={"n": 1})[1]
    mine, other = (claimed(message) for message in done(claimed(first)).messages)
    done(other)
    outcome = done(mine)
    assert [message.step for message in outcome.messages] == ["b"]
    assert len(asked) == calls


@pytest.mark.parametrize("struck", [False, True])
def test_a_time_limit_that_strikes_in_a_route_is_a_time_limit(make_driver, struck):
    class StruckError(Exception):
        """How this runner stops a step."""

    def choose(context):
        if struck:
            raise StruckError
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass
        return B

    hasty = a_step("Hasty", "ok", time_limit=60 if struck else 0.01, retry=RetryPolicy(max_attempts=1))
    flow = define(
        name=f"computed.{secrets.token_hex(6)}",
        initial_step=hasty,
        transitions={(B, "ok"): Done},
        choose=route(hasty, "ok", targets=[B])(choose),
    )
    driver = make_driver()
    [message] = create(driver, flow, id="orderid::a1")[1]
    worker = Worker(stop_exceptions=(StruckError,))
    attempt = driver.claim(message.workflow, message.run_id, message.activation, message.attempt, worker=worker)
    driver.commit(attempt, Executed(result=Completed(event="ok", result=None, metadata=None), duration=0))
    run = driver.storage.load(message.run_id)
    assert (run.status, json.loads(run.failure)["kind"]) == ("failed", "exit")
