"""A store that is silent for longer than a command may take: what it does late must not count against anybody."""

from __future__ import annotations

import itertools
import os
import signal
import time

import chaos_flows as flows
import pytest
from arena import CONCURRENCY, WORKERS, Arena
from stage import eventually

from hephaestus_celery.embedded import EmbeddedServer
from tests.support.starting import create

FROZEN_SECONDS = 5.0  # longer than two calls to the store may take


def warm_up(arena):
    """Have every pool process open its connection: a claim that is sent on an open one is executed late."""

    def all_have_worked():
        arena.hephaestus.wait(arena.hephaestus.start_instance(flows.Wide, {"value": 1}, id=next(ids)).run_id, 30)
        return len({execution["pid"] for execution in arena.executions()}) == WORKERS * CONCURRENCY

    ids = (f"chaoswide::w{number}" for number in itertools.count())
    eventually(all_have_worked)


@pytest.mark.usefixtures("server_program")
def test_a_claim_that_is_answered_late_is_no_lost_attempt(tmp_path):
    with EmbeddedServer() as broker, EmbeddedServer() as store:
        arena = Arena(store, module="chaos_app", folder=tmp_path, lease=10.0)
        arena.broker = arena.app.conf.broker_url = broker.url
        try:
            arena.open()
            warm_up(arena)
            driver = arena.hephaestus.runner.driver
            _, [message] = create(driver, flows.Fragile, id="chaosfragile::x1")
            os.kill(store.pid, signal.SIGSTOP)
            thaw = time.monotonic() + FROZEN_SECONDS
            arena.hephaestus.runner.dispatch([message])
            eventually(lambda: time.monotonic() > thaw)
            os.kill(store.pid, signal.SIGCONT)
            assert arena.hephaestus.wait(message.run_id, 30).status == "completed"
            entries = [(entry.kind, entry.step, entry.attempt) for entry in arena.hephaestus.history(message.run_id)]
            assert [entry for entry in entries if entry[0] == "attempt"] == [
                ("attempt", "once", 1),
                ("attempt", "done", 1),
            ]
            assert [note["step"] for note in arena.executions() if note["run_id"] == message.run_id] == ["once"]
        finally:
            arena.close()
            print(arena.logs()[-6000:])
