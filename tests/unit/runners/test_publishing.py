"""The thread that publishes for event loops: in order, in the caller's context, and gone when there is nothing to do."""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar

from hephaestus_celery.runners.publishing import Publisher, must_not_block, not_blocking

TENANT = ContextVar("tenant", default="nobody")


def test_calls_are_made_in_order_by_one_thread_each_in_the_context_of_its_caller():
    publisher, made = Publisher(), []
    for number in range(20):
        TENANT.set(f"t{number}")
        last = publisher.submit(lambda: made.append((threading.current_thread().name, TENANT.get())))
    last.result(10)
    assert made == [("hephaestus-publisher", f"t{number}") for number in range(20)]
    assert publisher.flush(10)
    assert publisher.is_idle


def test_there_a_call_may_block_though_its_caller_may_not():
    with not_blocking():
        assert must_not_block()
        assert Publisher().submit(must_not_block).result(10) is False
    assert not must_not_block()


def test_an_error_of_what_nobody_waits_for_is_logged(caplog):
    publisher = Publisher()
    with caplog.at_level(logging.ERROR):
        publisher.post(lambda: 1 / 0, what="sending 1 message(s)")
        publisher.submit(lambda: None).result(10)
    assert "sending 1 message(s) failed: division by zero" in caplog.text
