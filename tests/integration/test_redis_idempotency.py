"""Called twice, done once: repeats, lost replies and forgotten scripts."""

from __future__ import annotations

import dataclasses
import json
import selectors
import socket
import threading
from urllib.parse import urlsplit

import pytest

from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.commits import Fail, Retry, Suspend
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.storage.resume_and_cancel import CancelRequest, Delivery
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

ENTRY = '{"kind":"attempt"}'


def stored(run):
    """All that is stored of a run, and of what is due."""
    return run.load(), list(run.history()), run.due()


def waiting(stand):
    run = stand.start()
    run.wait_at("a")
    return run


@dataclasses.dataclass
class Case:
    """A call of the port, to be made as often as one likes."""

    prepare: object
    call: object


def create():
    return Case(lambda stand: stand.prepare(), lambda storage, run: storage.create(run.new))


def claim():
    return Case(lambda stand: stand.start(), lambda storage, run: on(storage, run).claim("a", fence="mine"))


def claim_of_a_resume():
    def prepare(stand):
        run = waiting(stand)
        run.deliver("go", '{"n":1}')
        return run

    return Case(prepare, lambda storage, run: on(storage, run).claim("a", fence="mine"))


def complete():
    def prepare(stand):
        run = stand.start({("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]})
        run.step("a")
        run.claim("b")
        return run

    return Case(prepare, lambda storage, run: storage.commit(run.completion("b", result='{"n":1}')))


def complete_to_the_end():
    def prepare(stand):
        run = stand.start({("a", "ok"): ["done"]})
        run.claim("a")
        return run

    return Case(prepare, lambda storage, run: storage.commit(run.completion("a")))


def discarded():
    def prepare(stand):
        run = stand.start()
        run.claim("a")
        run.cancel()
        return run

    return Case(prepare, lambda storage, run: storage.commit(run.completion("a")))


def suspend():
    def prepare(stand):
        run = stand.start()
        run.claim("a", fence="mine")
        run.deliver("go", keep=True)
        return run

    def call(storage, run):
        return storage.commit(
            Suspend(
                operation="minec",
                run_id=run.id,
                activation=Activation("a"),
                fence="mine",
                entry=ENTRY,
                durations=DURATIONS,
                accepts={"go": "ok"},
                timeout=1,
            )
        )

    return Case(prepare, call)


def fail():
    def prepare(stand):
        run = stand.start()
        run.claim("a", fence="mine")
        return run

    def call(storage, run):
        return storage.commit(
            Fail(
                operation="minef",
                run_id=run.id,
                activation=Activation("a"),
                fence="mine",
                entry=ENTRY,
                durations=DURATIONS,
                failure="{}",
            )
        )

    return Case(prepare, call)


def retry(*, delay=3_600_000_000):
    def prepare(stand):
        run = stand.start()
        run.claim("a", fence="mine")
        return run

    def call(storage, run):
        return storage.commit(
            Retry(
                operation="minef",
                run_id=run.id,
                activation=Activation("a"),
                fence="mine",
                entry=ENTRY,
                durations=DURATIONS,
                delay=delay,
            )
        )

    return Case(prepare, call)


def retry_at_once():
    return retry(delay=0)


def seize():
    def prepare(stand):
        run = stand.start()
        run.claim("a", holder="task1")
        return run

    def call(storage, run):
        return storage.seize(
            run.id,
            Activation("a"),
            attempt=1,
            holder="task1",
            fence="new",
            reason="lost",
            worker="w1",
            durations=DURATIONS,
        )

    return Case(prepare, call)


def schedule():
    return Case(
        waiting, lambda storage, run: storage.schedule(run.id, Activation("a"), reference="ref", delay=3_600_000_000)
    )


def deliver():
    return Case(waiting, lambda storage, run: storage.deliver(delivery(run, keep=False)))


def keep():
    return Case(lambda stand: stand.start(), lambda storage, run: storage.deliver(delivery(run, keep=True)))


def keep_with_a_key():
    return Case(
        lambda stand: stand.start(), lambda storage, run: storage.deliver(delivery(run, keep=True, key="evt_1"))
    )


def deliver_with_a_key():
    return Case(waiting, lambda storage, run: storage.deliver(delivery(run, keep=False, key="evt_1")))


def unschedule():
    def prepare(stand):
        run = waiting(stand)
        run.schedule("a", delay=3_600_000_000)
        return run

    return Case(
        prepare, lambda storage, run: storage.unschedule(run.id, Activation("a"), reference="ref", operation="back")
    )


def cancel():
    def call(storage, run):
        asked = {"run_id": run.id, "operation": "cancel", "reason": "enough", "entry": '{"kind":"cancel"}'}
        return storage.cancel(CancelRequest(**asked, durations=DURATIONS))

    return Case(lambda stand: stand.start(), call)


def delivery(run, *, keep, key=None):
    return Delivery(
        operation="delivery",
        run=RunReference(id=run.id),
        name="go",
        data='{"n":1}',
        step=None,
        keep=keep,
        durations=DURATIONS,
        key=key,
    )


def on(storage, run):
    """The run, led through another storage on the same server."""
    return run.twin(storage)


CASES = [
    create,
    claim,
    claim_of_a_resume,
    complete,
    complete_to_the_end,
    discarded,
    suspend,
    fail,
    retry,
    retry_at_once,
    seize,
    schedule,
    deliver,
    keep,
    keep_with_a_key,
    deliver_with_a_key,
    unschedule,
    cancel,
]


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def case(request):
    """One call of each kind that changes something."""
    return request.param()


class LossyProxy:
    """Passes bytes on to a server until it is set to lose: then the next answer is swallowed and the line is cut."""

    def __init__(self, url):
        self.target = url
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.losing = threading.Event()
        self.lost = threading.Event()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)

    def _accept(self):
        lines = []
        while True:
            try:
                caller, _ = self.listener.accept()
            except OSError:
                break
            lines.append(threading.Thread(target=self._pass_on, args=(caller,), daemon=True))
            lines[-1].start()
        for line in lines:
            line.join(5)

    def _pass_on(self, caller):
        with caller, self._connect() as server, selectors.DefaultSelector() as selector:
            selector.register(caller, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, caller)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    if key.fileobj is server and self.losing.is_set():
                        self.losing.clear()
                        self.lost.set()
                        return
                    key.data.sendall(data)

    def _connect(self):
        parts = urlsplit(self.target)
        if parts.scheme in ("unix", "redis+socket"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(parts.path)
            return server
        return socket.create_connection((parts.hostname, parts.port or 6379))


@pytest.fixture
def proxy(redis_url):
    """A line to the server that can lose an answer."""
    proxy = LossyProxy(redis_url)
    yield proxy
    proxy.close()


@pytest.fixture
def lossy(proxy, redis_url, namespace):
    """A storage behind the lossy line, connected, with its scripts known to the server."""
    storage = RedisStorage(f"redis://127.0.0.1:{proxy.port}/0", namespace=namespace)
    storage.now()
    yield storage
    storage.close()


def test_a_repeat_gets_the_first_answer(stand, redis_storage, case):
    run = case.prepare(stand)
    assert case.call(redis_storage, run) == case.call(redis_storage, run)


def test_a_repeat_changes_nothing(stand, redis_storage, case):
    run = case.prepare(stand)
    case.call(redis_storage, run)
    before = stored(run)
    case.call(redis_storage, run)
    assert stored(run) == before


def test_a_repeat_takes_no_number(stand, redis_storage, client, case):
    run = case.prepare(stand)
    case.call(redis_storage, run)
    key = redis_storage.keys.of_run(run.id).run
    before = client.hget(key, "seq")
    case.call(redis_storage, run)
    assert client.hget(key, "seq") == before


def test_a_call_whose_answer_is_lost_happens_once(stand, redis_storage, lossy, proxy, case):
    run = case.prepare(stand)
    for name, source in redis_storage._calls.scripts.sources.items():
        assert redis_storage._client.script_load(source) == redis_storage._calls.scripts._hashes[name]
    proxy.losing.set()
    answer = case.call(lossy, run)
    assert proxy.lost.is_set()
    before = stored(run)
    assert case.call(redis_storage, run) == answer
    assert stored(run) == before


def test_a_server_that_has_forgotten_the_scripts_is_given_them_again(stand, redis_storage, client, case):
    run = case.prepare(stand)
    client.script_flush()
    case.call(redis_storage, run)
    before = stored(run)
    client.script_flush()
    case.call(redis_storage, run)
    assert stored(run) == before


def test_a_commit_repeated_after_another_branch_has_gone_on_gets_its_first_answer(stand, redis_storage):
    run = stand.start({("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]})
    run.step("a")
    run.claim("b")
    commit = run.completion("b")
    first = redis_storage.commit(commit)
    run.step("c")
    assert run.load().status is Status.COMPLETED
    assert redis_storage.commit(commit) == first


def test_a_delivery_repeated_after_it_was_applied_gets_its_first_answer(stand, redis_storage):
    run = waiting(stand)
    first = redis_storage.deliver(delivery(run, keep=True))
    run.step("a")
    run.wait_at("b")
    assert redis_storage.deliver(delivery(run, keep=True)) == first
    assert run.load().steps["b"].resume is None


def test_a_kept_event_repeated_after_it_was_consumed_is_not_kept_again(stand, redis_storage):
    run = stand.start()
    redis_storage.deliver(delivery(run, keep=True))
    run.wait_at("a")
    run.step("a")
    assert redis_storage.deliver(delivery(run, keep=True)).outcome is Delivered.KEPT
    assert run.wait_at("b").resumed is False


def test_a_cancellation_repeated_after_a_step_named_cancel_was_discarded_gets_its_first_answer(stand, redis_storage):
    run = stand.start({("cancel", "ok"): ["done"]})
    run.claim("cancel")
    case = cancel()
    first = case.call(redis_storage, run)
    assert run.complete("cancel").verdict is Verdict.DISCARDED
    assert case.call(redis_storage, run).sequence == first.sequence


def test_a_retry_repeated_after_the_next_attempt_was_sent_gets_its_first_answer(stand, redis_storage):
    case = retry_at_once()
    run = case.prepare(stand)
    first = case.call(redis_storage, run)
    stand.entries(1)
    before = stored(run)
    assert case.call(redis_storage, run) == first
    assert stored(run) == before


def test_a_retry_repeated_after_the_next_attempt_was_claimed_gets_its_first_answer(stand, redis_storage):
    case = retry_at_once()
    run = case.prepare(stand)
    first = case.call(redis_storage, run)
    stand.entries(1)
    run.claim("a", 2)
    before = stored(run)
    assert case.call(redis_storage, run) == first
    assert stored(run) == before


def test_a_seizure_repeated_after_the_end_of_the_run_gets_its_first_answer(stand, redis_storage):
    case = seize()
    run = case.prepare(stand)
    first = case.call(redis_storage, run)
    run.cancel()
    again = case.call(redis_storage, run)
    assert (again.sequence, again.attempt.fence, again.run.step) == (
        first.sequence,
        first.attempt.fence,
        first.run.step,
    )


def test_a_seizure_repeated_after_its_attempt_was_failed_takes_nothing(stand, redis_storage):
    case = seize()
    run = case.prepare(stand)
    case.call(redis_storage, run)
    run.fences["a"] = "new"
    run.retry("a")
    before = stored(run)
    assert case.call(redis_storage, run) is None
    assert stored(run) == before


def test_a_timer_set_again_after_it_has_fired_does_not_fire_again(stand, redis_storage):
    run = stand.start()
    run.schedule("a")
    stand.tick()
    run.wait_at("a")
    assert run.schedule("a") is True
    stand.calm()
    assert set(run.due()) == {"a"}


def test_a_timer_set_again_after_it_was_taken_back_stays_away(stand, redis_storage):
    run = waiting(stand)
    run.schedule("a", delay=3_600_000_000)
    run.unschedule("a")
    assert run.schedule("a", delay=3_600_000_000) is True
    assert run.due() == {}


def test_a_timer_set_again_after_the_end_of_the_run_was_set(stand, redis_storage):
    run = waiting(stand)
    run.schedule("a", delay=3_600_000_000)
    run.cancel()
    assert (run.schedule("a", delay=3_600_000_000), run.due()) == (True, {})


def test_a_message_sent_again_twice_in_one_operation_is_sent_again_once(stand, redis_storage, client):
    run = stand.start(lane="0:work")
    first = run.resend("a", operation="mine")
    before = stored(run)
    assert run.resend("a", operation="mine") == first
    assert stored(run) == before
    assert list(run.resend("a", operation="another's")) == []


def test_a_lease_renewal_given_twice_is_answered_twice(stand, redis_storage):
    run = stand.start()
    run.claim("a")
    attempt = run.held("a")
    assert list(redis_storage.renew([attempt, attempt])) == [True, True]


def test_a_computed_transition_repeated_with_other_targets_gets_its_first_answer(stand, redis_storage):
    edges = {("a", "ok"): ["b"], ("a", "other"): ["c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
    run = stand.start(edges)
    run.claim("a")
    applied = run.load().applied
    first = redis_storage.commit(run.completion("a", "ok", expected=applied))
    assert (list(first.activated), [dispatch.activation.step for dispatch in first.dispatches]) == (["b"], ["b"])
    # Decided anew on an older context, after the answer to the first call was lost.
    assert redis_storage.commit(run.completion("a", "other", expected=applied)) == first


# What a tick has handed over


def something_of_each(stand, client):
    """A timeout, a retry and a lost worker, all due."""
    waits, rests, holds = (stand.start(instance_id=f"order::{name}") for name in ("waits", "rests", "holds"))
    waits.wait_at("a", timeout=0)
    rests.claim("a")
    rests.retry("a")
    holds.claim("a")
    client.zadd(stand.storage.keys.of_run(holds.id).names[3], {f"{run.id}|a": 1 for run in (waits, rests, holds)})
    return {waits.id: "timeout", rests.id: "retry", holds.id: "lease_expired"}, holds, waits


def kinds(tick):
    return {entry.run_id: entry.kind.value for entry in tick.entries}


def test_what_a_tick_handed_over_in_a_lost_answer_is_handed_over_again(stand, client, lossy, proxy):
    lossy.tick(0, owner="owner", worker="w1", seize=False, durations=DURATIONS)
    wanted, holds, _ = something_of_each(stand, client)
    proxy.losing.set()
    tick = lossy.tick(0, owner="owner", worker="w1", seize=True, durations=DURATIONS)
    assert proxy.lost.is_set()
    assert kinds(tick) == wanted
    [seized] = [entry for entry in tick.entries if entry.run_id == holds.id]
    assert holds.load().steps["a"].fence == seized.attempt.fence
    assert [entry.sequence for entry in holds.history()] == [seized.sequence]  # it was taken once
    assert kinds(lossy.tick(0, owner="owner", worker="w1", seize=True, durations=DURATIONS)) == {}


def test_what_was_handed_to_a_scheduler_that_is_gone_is_handed_to_the_next(stand, redis_storage, client):
    wanted, _, waits = something_of_each(stand, client)
    assert kinds(stand.tick(owner="first")) == wanted
    waits.claim("a")  # its message came through
    redis_storage.resign(owner="first")
    tick = redis_storage.tick(0, owner="second", worker="w2", seize=True, durations=DURATIONS)
    assert kinds(tick) == {run: kind for run, kind in wanted.items() if run != waits.id}
    assert kinds(redis_storage.tick(0, owner="second", worker="w2", seize=True, durations=DURATIONS)) == {}


def test_an_attempt_that_a_scheduler_of_before_has_seized_is_failed_by_the_next(stand, redis_storage, client):
    holds = stand.start()
    holds.claim("a")
    client.zadd(stand.storage.keys.of_run(holds.id).names[3], {f"{holds.id}|a": 1})
    [seized] = stand.tick(owner="first").entries
    lock = f"{redis_storage.keys.partition(0)}seat"
    [entry] = json.loads(client.hget(lock, "entries"))
    known = {"kind", "run", "name", "version", "step", "attempt", "token", "fence", "seq", "headers"}
    client.hset(lock, "entries", json.dumps([{name: value for name, value in entry.items() if name in known}]))
    redis_storage.resign(owner="first")
    [again] = redis_storage.tick(0, owner="second", worker="w2", seize=True, durations=DURATIONS).entries
    assert (again.attempt, again.sequence, again.run) == (seized.attempt, seized.sequence, None)
