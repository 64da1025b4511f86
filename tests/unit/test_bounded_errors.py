"""Whatever is given, and however many steps wait: what an error says stays readable."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from defining import A, B, C, a_step, define, problems_of, sound
from stage import eventually

from hephaestus_celery import (
    AmbiguousResumeError,
    Async,
    ConfigurationError,
    DefinitionError,
    Done,
    Hephaestus,
    HephaestusError,
    NotWaitingError,
    Ok,
    RetryPolicy,
    Step,
    Unique,
    Wait,
    WaitForEvent,
    WaitTimeoutError,
    Workflow,
    route,
    telemetry,
)
from hephaestus_celery.config import UNSET, read_settings

MOST = 1500  # characters: a few lines
LONG = "x" * 100_000
MANY = 1000
WAITS = [WaitForEvent.named(f"wait{number}") for number in range(MANY)]


class Wide(Workflow):
    """A thousand steps wait for one event, and a thousand more for another."""

    unique = Unique("wide")
    initial_step = [(step, {"event_name": "go"}) for step in WAITS]
    transitions = {(step, "received"): Done for step in WAITS}


@pytest.fixture(scope="module")
def waiting():
    """A runtime, and a run of which a thousand steps wait."""
    with Hephaestus() as hephaestus:
        handle = hephaestus.start_instance(Wide, id="a1")
        eventually(lambda: len(handle.get().waiting_steps) == MANY, timeout=60)
        yield hephaestus, handle


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda hephaestus, handle: handle.resume("go"), AmbiguousResumeError),
        (lambda hephaestus, handle: handle.resume("other"), NotWaitingError),
        (lambda hephaestus, handle: handle.resume("go", step="nobody"), NotWaitingError),
        (lambda hephaestus, handle: handle.wait(timeout=0), WaitTimeoutError),
        (lambda hephaestus, handle: handle.resume(LONG), (HephaestusError, ValueError)),
        (lambda hephaestus, handle: handle.resume("go", step=LONG), (HephaestusError, ValueError)),
        (lambda hephaestus, handle: handle.resume("go", {LONG: object()}), HephaestusError),
        (lambda hephaestus, handle: handle.resume("go", {"a": [{LONG: {LONG: (1,)}}]}), HephaestusError),
        (lambda hephaestus, handle: hephaestus.get(LONG), (HephaestusError, ValueError)),
        (lambda hephaestus, handle: hephaestus.get([LONG]), ValueError),
        (lambda hephaestus, handle: hephaestus.cancel("no::a", reason=[LONG]), HephaestusError),
        (lambda hephaestus, handle: hephaestus.cancel_timer(LONG), ValueError),
        (lambda hephaestus, handle: hephaestus.schedule_resume(LONG, "a", 1), (HephaestusError, ValueError)),
        (lambda hephaestus, handle: hephaestus.schedule_resume("a::b", "a", LONG), (HephaestusError, ValueError)),
        (lambda hephaestus, handle: hephaestus.list(status_in=[LONG]), ValueError),
        (lambda hephaestus, handle: hephaestus.list(**{LONG: 1}), TypeError),
        (lambda hephaestus, handle: hephaestus.list(cursor=LONG), ValueError),
        (lambda hephaestus, handle: Wide.start(LONG), ValueError),
        (lambda hephaestus, handle: Wide.start("a2", {"a": (LONG,)}), HephaestusError),
        (lambda hephaestus, handle: Wide.start("a2", version=LONG), ValueError),
        (lambda hephaestus, handle: hephaestus.start_instance([LONG], id="a2"), ValueError),
        (lambda hephaestus, handle: handle.wait(timeout=LONG), ValueError),
        (lambda hephaestus, handle: Unique(LONG + "!"), ValueError),
        (lambda hephaestus, handle: Unique("a", LONG), ValueError),
        (lambda hephaestus, handle: RetryPolicy(max_attempts=LONG), ValueError),
        (lambda hephaestus, handle: RetryPolicy(backoff=LONG), ValueError),
        (lambda hephaestus, handle: RetryPolicy(base=LONG), ValueError),
        (lambda hephaestus, handle: read_settings(lambda name: [LONG] if name.endswith("lease") else UNSET), ConfigurationError),
    ],
)  # fmt: skip
def test_an_error_stays_short_whatever_it_is_about(waiting, call, error):
    with pytest.raises(error) as refused:
        call(*waiting)
    assert 20 < len(str(refused.value)) < MOST


def test_what_waits_is_counted_where_it_is_too_many_to_be_named(waiting):
    _, handle = waiting
    with pytest.raises(AmbiguousResumeError, match=r"wait0, wait1, .* and 990 more of wide::a1 wait for 'go'"):
        handle.resume("go")


@pytest.mark.parametrize(
    "attributes",
    [
        {"name": LONG + " "},
        {"tags": [LONG + "\n"]},
        {"tags": LONG},
        {"metadata": {LONG: object()}},
        {"metadata": LONG},
        {"version": LONG},
        {"unique": LONG},
        {"default_retry": LONG},
        {"transitions": LONG},
        {"transitions": {LONG: A}},
        {"transitions": {(A, LONG): Done}},
        {"transitions": {(A, "ok"): LONG}},
        {"transitions": {(A, "ok"): (B, LONG)}, "initial_step": A},
        {"initial_step": LONG},
        {"initial_step": a_step("Odd", LONG)},
        {"initial_step": a_step("Odd", "ok", key=LONG)},
        {"initial_step": a_step("Odd", "ok", time_limit=LONG, retry=LONG, queue=[LONG], priority=LONG)},
        {"initial_step": (Wait, {"duration": 1, "unit": LONG})},
        {"initial_step": (Wait, {LONG: 1, "duration": timedelta(1)})},
        {"initial_step": (WaitForEvent, {"event_name": LONG})},
        {"initial_step": [a_step(f"S{number}", "ok") for number in range(MANY)]},
    ],
    ids=range(21),
)
def test_a_problem_stays_short_whatever_was_declared(attributes):
    assert max(map(len, problems_of(**sound(**attributes)))) < MOST


def test_the_message_about_a_definition_has_a_hundred_problems_and_says_how_many_more():
    steps = [a_step(f"S{number}", "ok") for number in range(MANY)]
    with pytest.raises(DefinitionError) as refused:
        define(initial_step=steps[0], transitions={(step, "odd"): Done for step in steps})
    assert len(refused.value.problems) > MANY
    assert str(refused.value).endswith(
        f"  and {len(refused.value.problems) - 100:,} more, which are in the problems of this error"
    )


def test_what_a_route_may_give_is_named_in_part():
    steps = [a_step(f"S{number}", "ok") for number in range(MANY)]
    flow = define(
        initial_step=A,
        transitions={(step, "ok"): Done for step in steps},
        by=route(A, "ok", targets=steps)(lambda context: C),
    )
    with pytest.raises(ValueError, match=r"gave C, which is none of its targets \(S0, S1, .* and 990 more\)"):
        flow.targets(A, "ok", None)


@pytest.mark.parametrize(
    "answer", [[LONG], Ok(LONG), Ok("ok", {LONG: object()}), Ok("ok", [LONG]), Async(timeout=LONG)], ids=range(5)
)
def test_what_a_step_may_not_answer_is_shown_in_part(waiting, answer):
    hephaestus, _ = waiting

    class Odd(Step):
        events = ("ok", "timeout")

        def execute(self, instance, config, context):
            return answer

    flow = define(
        name="shop.odd", unique=Unique("odd"), initial_step=Odd, transitions={(Odd, e): Done for e in Odd.events}
    )
    failure = hephaestus.start_instance(flow, id="a1").wait(timeout=30).failure
    assert 20 < len(failure.message) < MOST


def test_a_wide_transition_is_logged_in_part(waiting, caplog):
    hephaestus, _ = waiting
    steps = [a_step(f"S{number}", "ok") for number in range(MANY)]
    flow = define(
        name="shop.fan",
        unique=Unique("fan"),
        initial_step=A,
        transitions={(A, "ok"): steps, **{(step, "ok"): Done for step in steps}},
    )
    telemetry.log_handler.attach()
    try:
        with caplog.at_level(logging.DEBUG, logger="hephaestus_celery"):
            hephaestus.start_instance(flow, id="a1").wait(timeout=60)
    finally:
        telemetry.log_handler.detach()
    assert any("which starts s0, s1, " in message and "and 990 more" in message for message in caplog.messages)
    assert max(map(len, caplog.messages)) < MOST


def test_a_diagram_says_that_it_is_beyond_what_mermaid_draws():
    steps = [a_step(f"S{number}", "ok") for number in range(600)]
    flow = define(initial_step=steps, transitions={(step, "ok"): Done for step in steps})
    first, second, *_ = flow.to_mermaid().splitlines()
    assert "maxEdges and maxTextSize" in first
    assert first.startswith("%% 600 edges in ")
    assert second == "flowchart TD"
