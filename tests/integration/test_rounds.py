"""What a round of ``Again`` costs the store: the same from the first to the ten thousandth, in commands, bytes and memory."""

from __future__ import annotations

import re

import pytest
from redis import Redis

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.storage.redis.store import RedisStorage

SAMPLE = 20
STATE = '{"cursor":"%s"}' % ("x" * 100)


@pytest.fixture
def run(private_server, server, namespace, drive):
    """A run that has begun, on a server that nobody else asks."""
    server.flushall()
    storage = RedisStorage(private_server.url, namespace=namespace)
    made = drive(storage).start(lane="9:celery")
    yield made
    storage.close()


@pytest.fixture
def server(private_server):
    with Redis(unix_socket_path=str(private_server.socket_path), socket_timeout=30) as client:
        yield client


def figures(server):
    """The commands that the server has executed, those of scripts too, and the bytes that it was sent and has sent."""
    commands = {name: found["calls"] for name, found in server.info("commandstats").items()}
    ours = re.compile(r"cmdstat_(info|memory|scan|keys)")
    calls = sum(calls for name, calls in commands.items() if not ours.match(name))
    stats = server.info("stats")
    return calls, stats["total_net_input_bytes"], stats["total_net_output_bytes"]


def go_on(run, count, first, delay):
    """So many rounds, from this one on; with a delay, a scheduler begins each."""
    if not delay:
        run.rounds("a", count, first=first, state=STATE)
        return
    for number in range(first, first + count):
        run.claim("a", round=number)
        run.again("a", delay=delay, state=STATE)
        [entry] = run.storage.tick(0, owner="me", worker="w", seize=True, durations=run.durations).entries
        assert (entry.kind, entry.dispatch.round) == (Due.RETRY, number + 1)


def cost(server, run, first, delay):
    """What so many rounds cost."""
    before = figures(server)
    go_on(run, SAMPLE, first, delay)
    after = figures(server)
    idle = figures(server)  # what it costs to ask
    return tuple(one - other - (nothing - one) for one, other, nothing in zip(after, before, idle, strict=True))


def memory(server):
    return sum(server.memory_usage(key, samples=0) for key in server.scan_iter(count=1000))


@pytest.mark.parametrize(("many", "delay"), [(10_000, 0), (1_000, 1)], ids=["at once", "after a time"])
def test_a_round_costs_the_same_from_the_first_to_the_last_of_thousands(server, run, many, delay):
    early = cost(server, run, 1, delay)
    go_on(run, 230, 1 + SAMPLE, delay)
    first, kept = cost(server, run, 251, delay), memory(server)
    go_on(run, many - 250 - 2 * SAMPLE, 251 + SAMPLE, delay)
    last = cost(server, run, many - SAMPLE + 1, delay)
    assert last[0] == first[0] <= early[0] + 3 * SAMPLE  # an entry of the history makes room for it
    for early_bytes, first_bytes, last_bytes in zip(early[1:], first[1:], last[1:], strict=True):
        assert last_bytes <= 1.05 * first_bytes <= 1.15 * early_bytes
    assert memory(server) <= 1.1 * kept, "but for the digits of larger numbers"
    assert len(run.history()) == 201
    assert run.load().steps["a"].round == many + 1


def test_a_run_without_rounds_has_no_key_and_no_field_of_them(server, run):
    run.step("a")
    run.step("b")
    assert not list(server.scan_iter(match="*rounds:*"))
    [key] = server.scan_iter(match=f"*:run:{run.id}")
    assert not [name for name in server.hkeys(key) if name == b"rg" or name.startswith(b"a:")]
    assert b'"ro"' not in server.hget(key, "s:a")
