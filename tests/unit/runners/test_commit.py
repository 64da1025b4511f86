"""What can't be committed ends all the same: no process is held for ever by an answer that nobody takes."""

from __future__ import annotations

import pytest

from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.storage.memory import MemoryStorage


class Refusing(MemoryStorage):
    """Takes no commit, for a reason that no call can mend."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def commit(self, commit):
        self.asked.append(type(commit).__name__)
        raise TypeError("no such commit")


def test_a_failure_that_can_not_be_committed_either_is_raised(make_driver, start):
    storage = Refusing()
    driver = make_driver(storage)
    message = start(driver)
    attempt = driver.claim(
        message.workflow, message.run_id, message.activation, 1, worker=Worker(hostname="h", task_id="t")
    )
    executed = driver.execute(attempt)
    with pytest.raises(TypeError, match="no such commit"):
        driver.commit(attempt, executed)
    assert len(storage.asked) == 3
    driver.release(attempt)


def test_a_result_that_comes_too_late_is_logged(make_driver, start, caplog):
    driver = make_driver()
    message = start(driver)
    worker = Worker(hostname="h", task_id="t")
    attempt = driver.claim(message.workflow, message.run_id, message.activation, 1, worker=worker)
    executed = driver.execute(attempt)
    assert (
        driver.recovery.fail_lost(message.run_id, message.activation, 1, reason="it was killed", worker=worker).label
        == "retrying"
    )
    caplog.clear()
    driver.commit(attempt, executed).emit(driver.emitter)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith(
        "[orderid::a1] step a: the result of attempt 1 is not stored; the attempt was taken from"
    )
