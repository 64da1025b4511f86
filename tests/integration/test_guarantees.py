"""What docs/guarantees.md says that a failover or an eviction may do: it does, so the page is true."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status


@pytest.fixture
def fail_over(client, namespace):
    """``moment = fail_over()`` remembers all that is stored; ``moment()`` goes back there, as a replica that was behind does."""

    def remember():
        kept = {name: (client.dump(name), client.pttl(name)) for name in client.scan_iter(f"{namespace}:*", count=1000)}

        def go_back():
            for name in list(client.scan_iter(f"{namespace}:*", count=1000)):
                client.delete(name)
            for name, (dumped, left) in kept.items():
                client.restore(name, max(left, 0), dumped)

        return go_back

    return remember


def test_after_a_failover_numbers_and_terminal_events_may_repeat(stand, fail_over):
    run = stand.start()
    run.step("a")
    run.claim("b")
    go_back = fail_over()
    first = run.complete("b")
    go_back()
    again = run.fail("b")
    assert (first.verdict, again.verdict) == (Verdict.APPLIED, Verdict.APPLIED)
    assert (first.status_after, again.status_after) == (Status.COMPLETED, Status.FAILED)
    assert first.sequence == again.sequence
    assert [entry.outcome for entry in run.history()] == ["completed", "failed"]  # what the new primary knows


def test_after_a_failover_an_accepted_resume_and_a_start_may_be_lost(stand, fail_over):
    go_back_further = fail_over()
    run = stand.start()
    run.wait_at("a")
    go_back = fail_over()
    assert run.deliver().outcome is Delivered.ACCEPTED
    go_back()
    step = run.load().steps["a"]
    assert (step.status, step.resume) == ("waiting", None)
    go_back_further()
    assert run.load() is None


def test_a_run_of_which_a_server_evicted_what_is_due_stands_still(stand, client):
    run = stand.start()
    run.wait_at("a", timeout=0)
    client.delete(stand.storage.keys.of_run(run.id).names[3])
    stand.calm()
    assert run.load().status is Status.WAITING
