"""What a round of ``Again`` costs the store: the same from the first to the ten thousandth, in commands, bytes and memory."""

from __future__ import annotations

import re

import pytest
from redis import Redis

from hephaestus_celery.storage.redis.store import RedisStorage

MANY = 10_000
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
    """The commands that the server has executed, those of scripts too, and the bytes that it was sent."""
    commands = {name: found["calls"] for name, found in server.info("commandstats").items()}
    ours = re.compile(r"cmdstat_(info|memory|scan|keys)")
    calls = sum(calls for name, calls in commands.items() if not ours.match(name))
    return calls, server.info("stats")["total_net_input_bytes"]


def cost(server, run, first):
    """What so many rounds cost, from this one on."""
    before = figures(server)
    run.rounds("a", SAMPLE, first=first, state=STATE)
    after = figures(server)
    return tuple(one - other for one, other in zip(after, before, strict=True))


def memory(server):
    return sum(server.memory_usage(key, samples=0) for key in server.scan_iter(count=1000))


def test_a_round_costs_the_same_from_the_first_to_the_ten_thousandth(server, run):
    run.rounds("a", 250, state=STATE)
    first, kept = cost(server, run, 251), memory(server)
    run.rounds("a", MANY - 250 - 2 * SAMPLE, first=251 + SAMPLE, state=STATE)
    last = cost(server, run, MANY - SAMPLE + 1)
    assert last[0] == first[0]
    assert last[1] <= 1.05 * first[1]
    assert memory(server) <= 1.1 * kept, "but for the digits of larger numbers"
    assert len(run.history()) == 201
    assert run.load().steps["a"].round == MANY + 1


def test_a_run_without_rounds_has_no_key_and_no_field_of_them(server, run):
    run.step("a")
    run.step("b")
    assert not list(server.scan_iter(match="*rounds:*"))
    [key] = server.scan_iter(match=f"*:run:{run.id}")
    assert not [name for name in server.hkeys(key) if name == b"rg" or name.startswith(b"a:")]
    assert b'"ro"' not in server.hget(key, "s:a")
