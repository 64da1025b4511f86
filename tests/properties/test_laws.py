"""The laws of architecture 6 on the pure engine: random workflows, random interleavings."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from random_runs import Play, initials_of, plots

from hephaestus_celery import Status
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import StepStatus


def any_of(data):
    """Chance, as Hypothesis wants it."""
    return lambda operations: data.draw(st.sampled_from(operations), label="next")


def oracle(plot):
    """Which steps a run must have completed: those that some completed step's answer leads to. No counting of edges."""
    completed, pending = set(), initials_of(plot.transitions)
    while pending:
        key = pending.pop()
        if key not in completed:
            completed.add(key)
            pending.extend(plot.transitions.get((key, plot.answers.get(key)), ()))
    return completed


@given(plots(), st.data())
def test_law_2_any_order_of_parallel_branches_ends_in_the_same_state(plot, data):
    first_come = Play(plot).finish(lambda operations: operations[0])
    assert Play(plot).finish(any_of(data)).outcome() == first_come.outcome()


@given(plots(), st.data())
def test_law_3_applying_anything_twice_equals_applying_it_once(plot, data):
    play = Play(plot)
    while operations := play.possible():
        operation = any_of(data)(operations)
        suspends = play.suspends(operation[1])
        play.perform(operation)
        name, key = operation
        match name:
            case "claim":
                again = play.decide(operation)
                assert (again.verdict, again.state) == (Verdict.TAKEN, play.state)
            case "answer":
                again = play.suspend(key) if suspends else play.complete(key)
                assert (again.verdict, again.state, again.commands) == (Verdict.STALE, play.state, ())
            case "deliver":
                assert not play.waits_for_its_event(key)
            case "keep":
                again = play.decide(operation)
                assert (again.state, again.commands) == (play.state, ())


@given(plots(), st.data())
def test_law_3_a_second_answer_of_another_kind_changes_nothing(plot, data):
    play = Play(plot)
    while operations := play.possible():
        operation = any_of(data)(operations)
        play.perform(operation)
        if operation[0] == "answer":
            key = operation[1]
            others = [play.suspend(key), play.complete(key), play.decide(("fail", key))]
            assert [(other.verdict, other.state) for other in others] == [(Verdict.STALE, play.state)] * 3


@given(plots(), st.data())
def test_law_3_an_answer_under_a_foreign_fence_changes_nothing(plot, data):
    play = Play(plot)
    while operations := play.possible():
        play.perform(any_of(data)(operations))
        for key in play.plot.answers:
            foreign = [play.complete(key, fence="foreign"), play.suspend(key, fence="foreign")]
            assert [(other.verdict, other.state) for other in foreign] == [(Verdict.STALE, play.state)] * 2


@given(plots(), st.integers(1, 5), st.data())
def test_law_4_a_run_in_which_workers_and_messages_are_lost_ends_like_one_without(plot, losses, data):
    undisturbed = Play(plot).finish(lambda operations: operations[0]).outcome()
    disturbed = Play(plot, losses=losses).finish(any_of(data)).outcome()
    assert {**disturbed, "sequence": undisturbed["sequence"]} == undisturbed


@given(plots(), st.integers(1, 5), st.data())
def test_law_4_the_answer_of_a_lost_attempt_changes_nothing(plot, losses, data):
    play = Play(plot, losses=losses)
    while operations := play.possible():
        name, key = any_of(data)(operations)
        fence = play.fence(key)
        was_held = key in play.executing()
        play.perform((name, key))
        if name == "due" and was_held:
            late = [play.complete(key, fence=fence), play.suspend(key, fence=fence)]
            assert [(decision.verdict, decision.state) for decision in late] == [(Verdict.STALE, play.state)] * 2


@given(plots(), st.data())
def test_law_5_a_step_starts_once_and_only_where_a_branch_has_come(plot, data):
    play = Play(plot).finish(any_of(data))
    assert Counter(play.started) == Counter(oracle(plot))


@given(plots(), st.data())
def test_law_5_a_step_starts_in_the_moment_its_last_predecessor_is_settled(plot, data):
    play = Play(plot)
    later = oracle(plot) - set(initials_of(plot.transitions))
    while operations := play.possible():
        play.perform(any_of(data)(operations))
        due = {key for key in later if plot.predecessors(key) <= play.settled()}
        assert due == set(play.started) & later


@given(plots(), st.data())
def test_law_5_what_no_branch_comes_to_is_skipped(plot, data):
    play = Play(plot).finish(any_of(data))
    skipped = {key for key, step in play.state.steps.items() if step.status is StepStatus.SKIPPED}
    assert skipped == set(plot.keys) - oracle(plot)


@given(plots(), st.data())
def test_law_6_every_run_ends_completed(plot, data):
    assert Play(plot).finish(any_of(data)).state.status is Status.COMPLETED


@given(plots(), st.data())
def test_law_6_done_completes_once(plot, data):
    play = Play(plot)
    reached = 0
    while operations := play.possible():
        reached += play.perform(any_of(data)(operations)).done
    assert (reached, play.state.steps["done"].status) == (1, StepStatus.COMPLETED)


@given(plots(), st.data())
def test_law_6_nothing_is_left_active_or_waiting(plot, data):
    play = Play(plot).finish(any_of(data))
    left = [step.status for step in play.state.steps.values() if step.status in (StepStatus.ACTIVE, StepStatus.WAITING)]
    assert left == []


@given(plots(), st.data())
def test_law_6_a_run_that_has_not_ended_has_something_to_do_or_to_wait_for(plot, data):
    play = Play(plot)
    while operations := play.possible():
        assert {name for name, _ in operations} & {"claim", "answer", "deliver"}
        play.perform(any_of(data)(operations))


@given(plots(), st.data())
def test_law_7_nothing_changes_a_completed_run(plot, data):
    play = Play(plot).finish(any_of(data))
    for key in plot.answers:
        calls = [("claim", key), ("fail", key), ("cancel", "")]
        late = [play.suspend(key), play.complete(key), *(play.decide(call) for call in calls)]
        assert [(decision.verdict, decision.state) for decision in late] == [(Verdict.STALE, play.state)] * 5


@given(plots(), st.data())
def test_law_7_what_ends_after_a_cancellation_is_discarded_once(plot, data):
    play = Play(plot)
    for _ in range(data.draw(st.integers(0, 12))):
        if operations := play.possible():
            play.perform(any_of(data)(operations))
    play.perform(("cancel", ""))
    final = play.state.status
    for key in play.executing():
        assert play.perform(("answer", key)).verdict is Verdict.DISCARDED
        assert play.perform(("answer", key)).verdict is Verdict.STALE
    assert (play.state.status, play.executing()) == (final, [])


@given(plots(), st.data())
def test_law_7_after_a_failure_no_step_starts(plot, data):
    play = Play(plot)
    play.perform(("claim", "s0"))
    for _ in range(data.draw(st.integers(0, 12))):
        operation = any_of(data)(play.possible())
        if operation[0] == "answer" and len(play.executing()) == 1:
            break  # somebody must be left to fail
        play.perform(operation)
    play.perform(("fail", data.draw(st.sampled_from(play.executing()))))
    started = list(play.started)
    for key in plot.answers:
        play.perform(("claim", key))
        play.perform(("answer", key))
    assert (play.state.status, play.started) == (Status.FAILED, started)


@given(plots(), st.integers(0, 3), st.data())
def test_law_10_the_numbers_of_all_commits_are_gapless(plot, losses, data):
    play = Play(plot, losses=losses)
    numbers = []
    while operations := play.possible():
        decision = play.perform(any_of(data)(operations))
        numbers.extend(range(decision.sequence, decision.sequence + decision.reserved))
    assert numbers == list(range(1, play.state.sequence + 1))


@given(plots(), st.data())
def test_law_10_completed_steps_are_ordered_by_their_numbers(plot, data):
    play = Play(plot)
    completed = []
    while operations := play.possible():
        name, key = any_of(data)(operations)
        before = play.state.steps.get(key)
        play.perform((name, key))
        after = play.state.steps.get(key)
        if after is not None and after is not before and after.status is StepStatus.COMPLETED:
            completed.append(key)
    orders = {key: step.order for key, step in play.state.steps.items() if step.order is not None}
    assert sorted(orders, key=orders.__getitem__) == [*completed, "done"]
