"""Connections to the store: lent to one user at a time, whoever that is; bounded; never given on with an answer unread."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from redis.exceptions import ResponseError
from stage import eventually

from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.redis import connections as connections_module
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.connections import Connections
from hephaestus_celery.storage.redis.errors import AllInUseError, UnexpectedReplyError
from hephaestus_celery.storage.redis.parameters import as_parameters
from hephaestus_celery.storage.redis.store import RedisStorage

NO_RUN = "01a225cd-52a0-77bb-a030-02c52f939482"


@pytest.fixture
def connections(redis_url):
    made = []

    def make(most=5, timeout=2.0):
        client = connect(redis_url, timeout=timedelta(seconds=2), options={"client_name": "lent"})
        made.append(Connections(client, most=most, timeout=timeout))
        return made[-1]

    yield make
    for each in made:
        each.close()


def echo(connections, text):
    return connections.call("ECHO", text, fits=lambda reply: type(reply) is bytes).decode()


def opened(admin, name="lent"):
    return sum(client["name"] == name for client in admin.client_list())


def test_a_call_from_a_signal_handler_gets_its_own_answer_and_leaves_the_others_theirs(connections):
    line, wrong, heard = connections(), [], []

    def handler(*_):
        heard.append(echo(line, f"handler {len(heard)}"))
        if len(heard) >= 200:  # else the alarm would come after the test, where nobody takes it: that ends the process
            return
        signal.setitimer(signal.ITIMER_REAL, 0.00005 + len(heard) % 40 * 0.00001)  # at another moment of a later call

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0001)
    try:
        number = 0
        while len(heard) < 200:
            number += 1
            if echo(line, f"call {number}") != f"call {number}":
                wrong.append(number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert wrong == []
    assert heard == [f"handler {number}" for number in range(len(heard))]


# redis-py leaves the socket of a connection that is interrupted while it is made to the garbage collection.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_strikes_in_a_call_leaves_no_answer_to_the_next_and_takes_no_connection_away(connections, client):
    line, struck, number = connections(most=6), 0, 0

    class Struck(BaseException):
        pass

    def strike(*_):
        raise Struck

    before = signal.signal(signal.SIGALRM, strike)
    try:
        while struck < 1000:
            number += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.000001 + (number % 200) * 0.000001)
                answered = echo(line, f"call {number}")
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert answered == f"call {number}"
            except Struck:
                struck += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()  # what was cut off may hold on to itself
    # All connections are still there to be had, at once.
    barrier = threading.Barrier(6)
    with ThreadPoolExecutor(6) as pool:
        slow = [pool.submit(lambda: (barrier.wait(10), blocked(line, 0.1))) for _ in range(6)]
        assert [each.result(10)[1] for each in slow] == [None] * 6
    assert opened(client) <= 6


def test_wherever_in_a_call_it_is_struck_no_connection_is_lost(connections):
    line = connections(most=1)
    echo(line, "open")

    class Struck(BaseException):
        pass

    def striking_at(place):
        left = place

        def trace(frame, event, _):
            nonlocal left
            if frame.f_code.co_filename != connections_module.__file__:
                return None
            frame.f_trace_opcodes = True
            left -= event == "opcode"
            if event == "opcode" and left == 0:
                raise Struck
            return trace

        return trace

    before, struck = sys.gettrace(), 0
    while True:
        sys.settrace(striking_at(struck + 1))
        try:
            answered = echo(line, f"call {struck}")
        except Struck:
            struck += 1
        else:
            break
        finally:
            sys.settrace(before)
        assert echo(line, "after") == "after"
    assert answered == f"call {struck}"
    assert struck > 100


def blocked(line, seconds):
    """A call that takes so long on the server."""
    return line.call("BLPOP", f"nothing:{os.getpid()}", str(seconds), fits=lambda reply: reply is None)


def test_there_are_no_more_connections_than_may_be_and_who_finds_none_waits(connections, client):
    line = connections(most=4)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda number: echo(line, str(number)), range(2000)))
    assert answers == [str(number) for number in range(2000)]
    assert 1 <= opened(client) <= 4


def test_an_error_says_that_a_caller_waited_too_long_for_a_connection(connections):
    line = connections(most=1, timeout=0.1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(blocked, line, 1.5)
        eventually(lambda: not line._stock._free, what="the connection is lent")
        with pytest.raises(AllInUseError, match="all 1 connections of this process are in use"):
            echo(line, "too many")
        slow.result(10)
    assert echo(line, "again") == "again"


def test_the_bound_is_an_option_of_the_store(redis_url, namespace, client):
    storage = RedisStorage(redis_url, namespace=namespace, options={"max_connections": 3, "client_name": namespace})
    with ThreadPoolExecutor(30) as pool:
        assert len(list(pool.map(lambda _: storage.now(), range(600)))) == 600
        assert set(pool.map(lambda _: storage.load(NO_RUN), range(600))) == {None}  # by way of a script
    assert opened(client, namespace) <= 3
    storage.close()
    eventually(lambda: opened(client, namespace) == 0, what="all are closed")


def test_threads_that_come_and_go_use_the_same_connections(redis_url, namespace, client):
    storage = RedisStorage(redis_url, namespace=namespace, options={"client_name": namespace})
    before = client.info("stats")["total_connections_received"]
    for _ in range(100):  # as a server that has a thread for each request
        thread = threading.Thread(target=storage.load, args=(NO_RUN,))
        thread.start()
        thread.join()
    assert client.info("stats")["total_connections_received"] - before == 1
    storage.close()


def test_an_answer_to_something_else_is_refused_and_its_connection_closed(connections, client):
    line = connections(most=1)
    echo(line, "known")
    [known] = [each["id"] for each in client.client_list() if each["name"] == "lent"]
    with pytest.raises(UnexpectedReplyError, match="its reply does not fit the call: b'text'"):
        line.call("ECHO", "text", fits=lambda reply: type(reply) is int)
    echo(line, "known")
    [other] = [each["id"] for each in client.client_list() if each["name"] == "lent"]
    assert other != known


def test_an_answer_of_another_form_is_a_storage_error(redis_storage, monkeypatch):
    scripts = redis_storage._calls.scripts
    monkeypatch.setitem(scripts._hashes, "load", "0" * 40)
    monkeypatch.setitem(scripts.sources, "load", "return 5")  # as if another's answer came
    with pytest.raises(StorageError, match="can't be understood: its reply does not fit the call"):
        redis_storage.load(NO_RUN)


def test_an_answer_about_another_run_is_refused(drive, redis_storage):
    mine, other = (drive(redis_storage).start(instance_id=f"order::{name}") for name in "ab")
    keys = redis_storage.keys.of_run(other.id)
    asked = [keys.prefix, as_parameters(run_id=other.id)]
    with pytest.raises(UnexpectedReplyError):
        redis_storage._calls.scripts.call(redis_storage._connections, "load", keys.names, asked, run_id=mine.id)


def test_an_error_of_one_command_of_many_leaves_the_connection_in_order(connections):
    line = connections(most=1)
    with pytest.raises(ResponseError):
        line.call_many([("ECHO", "one"), ("ECHO",), ("ECHO", "three")], fits=bool)
    assert echo(line, "four") == "four"


def test_a_fork_at_any_moment_leaves_both_processes_their_own(connections):
    line = connections(most=3)
    stop = threading.Event()
    wrong = []

    def ask(name):
        number = 0
        while not stop.is_set():
            number += 1
            if echo(line, f"{name} {number}") != f"{name} {number}":
                wrong.append((name, number))

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            fine = all(echo(line, f"child {number}") == f"child {number}" for number in range(20))
            os._exit(0 if fine else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    for thread in threads:
        thread.join(10)
    assert (wrong, codes) == ([], [0] * 20)


GREENLETS = """
import sys
from datetime import timedelta
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.connections import Connections

def make():
    made = Connections(connect(sys.argv[1], timeout=timedelta(seconds=5), options={"client_name": "green"}), most=6, timeout=5)
    if sys.argv[3] != "before the first call":
        ask(made, "before")
    return made

def ask(made, text):
    return made.call("ECHO", text, fits=lambda reply: type(reply) is bytes).decode()

late = make() if sys.argv[3] != "early" else None
if sys.argv[2] == "gevent":
    from gevent import monkey
    monkey.patch_all()
    from gevent.pool import Pool
else:
    import eventlet
    eventlet.monkey_patch()
    from eventlet import GreenPool as Pool
made = late or make()
wrong = []

def use(number):
    for turn in range(30):
        text = f"{number} {turn}"
        if ask(made, text) != text:
            wrong.append(text)

pool = Pool(50)
for number in range(50):
    pool.spawn_n(use, number) if sys.argv[2] == "eventlet" else pool.spawn(use, number)
pool.waitall() if sys.argv[2] == "eventlet" else pool.join()
named = [each for each in connect(sys.argv[1], timeout=timedelta(seconds=5), options={}).client_list() if each["name"] == "green"]
print(len(wrong), len(named))
"""


@pytest.mark.parametrize("when", ["early", "before the first call", "late"])
@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_greenlets_get_their_own_answers_whenever_the_library_was_patched(kind, when, private_server):
    # Over TCP or a socket alike; warnings of these libraries about late patching are the point of this test.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREENLETS, private_server.url, kind, when],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    wrong, named = map(int, re.findall(r"\d+", ran.stdout))
    assert wrong == 0
    assert named <= 6
