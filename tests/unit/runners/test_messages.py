"""Messages: what they carry, and what is taken for one of ours."""

from __future__ import annotations

import secrets
import sys
from datetime import timedelta

import pytest
from defining import A, B, a_step, define
from ids import shown

from hephaestus_celery import Done
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.runners.messages import messages, parse

D = a_step("D", "ok")
RUN = new_run_id(milliseconds=1_700_000_000_000, instance_id="orderid::a1", random_bits=5)


@pytest.fixture
def name():
    """Names a workflow of this test and of no other."""
    return f"messages.{secrets.token_hex(6)}"


def test_a_message_of_ours_is_taken_apart():
    assert parse([RUN, "charge", 2, 3], {}) == (RUN, Activation("charge"), 2, 3)


def test_a_message_may_come_as_a_tuple():
    assert parse((RUN, "charge", 1, 1), {}) == (RUN, Activation("charge"), 1, 1)


@pytest.mark.parametrize("activation", [Activation("charge", index=3), Activation("charge", index=0, generation=2)])
def test_a_message_names_an_activation(activation):
    assert parse([RUN, str(activation), 1, 1], {}) == (RUN, activation, 1, 1)


@pytest.mark.parametrize(
    "args",
    [
        [],
        [RUN],
        [RUN, "charge", 1],
        [RUN, "charge", 1, 1, 1],
        ["no run id", "charge", 1, 1],
        [RUN.upper() + "x", "charge", 1, 1],
        [RUN + "\n", "charge", 1, 1],
        [RUN, "", 1, 1],
        [RUN, "a|b", 1, 1],
        [RUN, "a b", 1, 1],
        [RUN, "a #", 1, 1],
        [RUN, "a #-1", 1, 1],
        [RUN, "a ~1", 1, 1],
        [RUN, " #1", 1, 1],
        [RUN, "x" * 201, 1, 1],
        [RUN, "charge", 0, 1],
        [RUN, "charge", 1, 0],
        [RUN, "charge", -1, 1],
        [RUN, "charge", "1", 1],
        [RUN, "charge", 1.0, 1],
        [RUN, "charge", None, 1],
        [None, "charge", 1, 1],
        [RUN, ["charge"], 1, 1],
        [{"run": RUN}],
        [RUN, "charge", True, 1],
        [RUN, "charge", 1, True],
        [RUN, "charge", 2**70, 1],
        [RUN, "charge", float("inf"), 1],
        [RUN, "charge", float("nan"), 1],
        [RUN, "cha\x1frge", 1, 1],
        [RUN, "\ud800", 1, 1],
        5,
        RUN,
        None,
        {RUN: "charge"},
    ],
    ids=shown,
)
def test_what_is_no_message_of_ours_is_recognised(args):
    assert parse(args, {}) is None


def test_a_message_of_ours_has_no_keyword_arguments():
    for kwargs in ({"run_id": RUN}, 5, "x", [1]):
        assert parse([RUN, "charge", 1, 1], kwargs) is None


def test_a_message_names_its_step_with_its_queue_and_priority(name):
    fast = a_step("Fast", "ok", queue="fast", priority=7)
    define(name=name, initial_step=fast, transitions={(fast, "ok"): Done})
    [message] = messages(name, 1, RUN, [DispatchStep(Activation("fast"), 2, 3)])
    assert (message.run_id, message.workflow, message.step, message.attempt, message.token) == (RUN, name, "fast", 2, 3)
    assert (message.queue, message.priority) == ("fast", 7)


@pytest.mark.parametrize(("version", "step"), [(2, "fast"), (1, "unheard")])
def test_a_message_for_what_is_not_known_here_has_no_queue(name, version, step):
    fast = a_step("Fast", "ok", queue="fast", priority=7)
    define(name=name, initial_step=fast, transitions={(fast, "ok"): Done})
    [message] = messages(name, version, RUN, [DispatchStep(Activation.parse(step), 1, 1)])
    assert (message.step, message.queue, message.priority) == (step, None, None)


def test_the_id_of_a_task_names_one_message(name):
    found = messages(
        name,
        1,
        RUN,
        [DispatchStep(Activation("a"), 1, 1), DispatchStep(Activation("a"), 1, 2), DispatchStep(Activation("a"), 2, 2)],
    )
    assert [message.task_id for message in found] == [f"{RUN}:a:1.1", f"{RUN}:a:1.2", f"{RUN}:a:2.2"]


def test_the_id_of_a_task_fits_and_is_its_own_however_long_its_step_is_named(name):
    keys = ["é" * 200, "é" * 199 + "e", "🛒" * 200, "x" * 200, "x" * 80, "x" * 81, "x" * 79 + "é"]
    most = [DispatchStep(Activation.parse(key), sys.maxsize, sys.maxsize) for key in keys]
    found = [message.task_id for message in messages(name, 1, RUN, most)]
    assert max(len(task_id.encode()) for task_id in found) <= 255
    assert len(set(found)) == len(keys)
    # Neither can one be made up by naming a step as the id of another's task begins.
    forged = [DispatchStep(Activation(task_id.split(":")[1]), sys.maxsize, sys.maxsize) for task_id in found]
    assert {message.task_id for message in messages(name, 1, RUN, forged)} & set(found) == {found[4]}


def test_a_message_says_how_long_its_step_may_take(name):
    slow = a_step("Slow", "ok", time_limit=timedelta(seconds=3))
    define(name=name, initial_step=slow, transitions={(slow, "ok"): Done})
    found = messages(name, 1, RUN, [DispatchStep(Activation("slow"), 1, 1), DispatchStep(Activation("done"), 1, 1)])
    assert [message.time_limit for message in found] == [3.0, None]


def test_steps_of_one_dispatch_are_messages_in_its_order(name):
    define(name=name, initial_step=A, transitions={(A, "ok"): B, (B, "ok"): Done})
    assert [
        message.step
        for message in messages(
            name, 1, RUN, [DispatchStep(Activation("b"), 1, 1), DispatchStep(Activation("a"), 1, 1)]
        )
    ] == [
        "b",
        "a",
    ]
