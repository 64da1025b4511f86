"""Architecture 7: no single script or command takes the server longer than 5 ms, however large or wide a run is.

The server's own figures, of its slow log. The machine does other things too, and another one may be slower: of each script
the best of a few rounds counts, more rounds are made while one is over the limit, and each round times a yardstick as well,
fixed work of about the same length. Where the best of the yardstick is slower than on the machine for which the limit
was set, so is the limit.
"""

from __future__ import annotations

from collections import defaultdict

import pytest
from redis import Redis

from hephaestus_celery.storage.redis.scripts import Scripts
from hephaestus_celery.storage.redis.store import RedisStorage

ROUNDS = 3
MOST_ROUNDS = 10
LONGEST = 5000  # microseconds
YARDSTICK = """
for number = 1, 1000 do
  redis.call('HSET', KEYS[1], 'field', cjson.encode({ number = number, kind = 'yardstick' }))
  cjson.decode(redis.call('HGET', KEYS[1], 'field'))
end
"""
LENGTH = 2800  # microseconds that the yardstick took at best on the machine for which LONGEST was set
OURS = {"SLOWLOG", "CONFIG", "FLUSHALL", "SCRIPT"}  # the test's own commands


@pytest.fixture
def server(private_server):
    with Redis(unix_socket_path=str(private_server.socket_path), socket_timeout=30) as client:
        client.config_set("slowlog-log-slower-than", -1)
        client.config_set("slowlog-max-len", 200_000)
        yield client
        client.config_set("slowlog-log-slower-than", 10_000)


def name_of(words, names):
    """The script, or the command."""
    name = words[0].decode()
    return names.get(words[1].decode(), name) if name == "EVALSHA" else name


@pytest.fixture
def longest(server, private_server, namespace, drive):
    """``longest(shape, prepare)``: what takes too long in ``shape(run, storage)``, and how many microseconds at best.

    The rounds do the same things in the same order, so that the same call has a figure in each.
    """
    scripts = Scripts()
    names = {digest: name for name, digest in scripts._hashes.items()}
    yardstick = server.register_script(YARDSTICK)
    names[yardstick.sha] = "yardstick"

    def one_round(number, shape, prepare):
        server.flushall()
        storage = RedisStorage(private_server.url, namespace=f"{namespace}{number}")
        try:
            run = prepare(drive(storage))
            server.config_set("slowlog-log-slower-than", 0)
            shape(run, storage)
            yardstick(keys=["yardstick"])
            server.config_set("slowlog-log-slower-than", -1)
            entries = server.slowlog_get(200_000)
            server.slowlog_reset()
        finally:
            storage.close()
        found = defaultdict(list)
        for entry in reversed(entries):
            found[name_of(entry["command"].split(), names)].append(entry["duration"])
        return found

    def measure(shape, prepare):
        for source in scripts.sources.values():
            server.script_load(source)
        server.script_load(YARDSTICK)
        rounds, over, slow = [], set(), {}
        # More rounds make the best of a script only shorter, and no limit is below LONGEST: within that, one is enough.
        while not rounds or (over and len(rounds) < ROUNDS) or (slow and len(rounds) < MOST_ROUNDS):
            rounds.append(one_round(len(rounds), shape, prepare))
            best = {
                name: max(map(min, zip(*(found[name] for found in rounds), strict=False)), default=0)
                for name in rounds[0]
            }
            limit = LONGEST * max(1, best.pop("yardstick") / LENGTH)
            over = {name for name, took in best.items() if took > LONGEST and name not in OURS}
            slow = {name: best[name] for name in over if best[name] > limit}
        print(shape.__name__, len(rounds), "rounds, at most", round(limit), best)
        return slow

    return measure
