"""How many steps have completed between two glances at runs."""

from __future__ import annotations

import pytest

from hephaestus_celery.cli.pace import FOLLOWED, running_in, steps_between
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.glances import Advance, Advances


def glance(*runs, **counts):
    """Some runs, each by its name, start, status and completed steps; and how many there are, where these aren't all."""
    found = {name: Advance(started_at=at, status=Status(status), completed=done) for name, at, status, done in runs}
    sizes = {status: sum(run.status is status for run in found.values()) for status in Status}
    return Advances(counts={**sizes, **{Status(name): many for name, many in counts.items()}}, runs=found)


def test_runs_that_ran_are_compared_with_themselves():
    before = glance(("a", 1, "running", 2), ("b", 2, "running", 0), ("c", 3, "completed", 9))
    now = glance(("a", 1, "running", 3), ("b", 2, "completed", 4), ("c", 3, "completed", 9))
    assert steps_between(before, now) == 5


def test_new_runs_count_with_all_that_they_have_done():
    before = glance(("a", 1, "completed", 7))
    now = glance(("a", 1, "completed", 7), ("b", 2, "completed", 3), ("c", 3, "running", 1))
    assert steps_between(before, now) == 4


def test_runs_that_were_not_looked_at_are_taken_for_alike():
    before = glance(("a", 1, "running", 2), ("b", 2, "running", 0), running=20)
    now = glance(("a", 1, "completed", 3), ("b", 2, "completed", 1), running=0, completed=20)
    assert steps_between(before, now) == 20
    many = glance(("c", 3, "completed", 3), ("d", 4, "completed", 5), completed=300)
    assert steps_between(glance(), many) == 300 * 4


def test_a_backlog_of_runs_that_had_not_begun_counts_whole():
    before = glance(("new", 9, "running", 0), pending=50)
    now = glance(("new", 9, "running", 0), ("old", 1, "completed", 6), pending=49)
    assert steps_between(before, now) == 6


def test_runs_that_go_on_after_a_wait_do_not_count_with_what_they_had_done():
    before = glance(("new", 9, "running", 0), waiting=3)
    now = glance(("new", 9, "running", 0), ("old", 1, "running", 40), waiting=2)
    assert steps_between(before, now) == 1


@pytest.mark.parametrize("status", ["waiting", "cancelled"])
def test_only_runs_that_ran_are_followed_and_not_ever_more_of_them(status):
    runs = [(f"r{number:05}", number, "running", 0) for number in range(FOLLOWED * 3)]
    followed = running_in(glance(*runs, ("s", 1, status, 0)))
    assert (len(followed), followed[0]) == (FOLLOWED, f"r{FOLLOWED * 3 - 1:05}")


def test_runs_that_are_deleted_are_no_steps_back():
    assert steps_between(glance(("a", 1, "completed", 5), completed=100), glance()) == 0
