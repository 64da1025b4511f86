"""Steps on the event loop and on greenlets log at the same time: each record is written once, and nobody waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

START = """
import sys
if sys.argv[1] == "gevent":
    from gevent import monkey, sleep, spawn, Timeout
    monkey.patch_all()
else:
    from eventlet import monkey_patch, sleep, spawn, Timeout
    monkey_patch()
import logging, logging.config, os
from hephaestus_celery.runners import event_loop
from hephaestus_celery.runners import native_threads as native

inside, tried, let_go = native.Flag(), native.Flag(), native.Flag()
written, wrong = [], []
LOG = logging.getLogger("shop")
LOG.setLevel(logging.INFO)
LOG.propagate = False

async def call(function, *args):
    return function(*args)

def on_the_loop(function, *args):
    return spawn(event_loop.run, call(function, *args), seconds=30)

def ends(*greenlets):
    with Timeout(30):
        for each in greenlets:
            each.get() if sys.argv[1] == "gevent" else each.wait()

def others_wait():
    for _ in range(20):
        sleep(0)

def until(flag):
    with Timeout(30):
        while not flag.is_set:
            sleep(0)
"""

HELD = (
    START
    + """
on_a_greenlet = sys.argv[2] == "greenlet holds"

class Held(logging.Handler):
    def acquire(self):
        if inside.is_set:
            tried.set()
        super().acquire()

    def emit(self, record):
        text = record.getMessage()
        if text == "holds":
            inside.set()
            until(let_go) if on_a_greenlet else let_go.wait(30)
        written.append(text)

early = Held()
LOG.addHandler(early)
ends(on_the_loop(lambda: None))
if sys.argv[3] == "late":
    LOG.removeHandler(early)
    LOG.addHandler(Held())
first = spawn(LOG.info, "holds") if on_a_greenlet else on_the_loop(LOG.info, "holds")
until(inside)
second = on_the_loop(LOG.info, "waits") if on_a_greenlet else spawn(LOG.info, "waits")
third = spawn(LOG.info, "waits, too")
until(tried)
others_wait()
assert written == [], written
let_go.set()
ends(first, second, third)
assert written[0] == "holds" and sorted(written[1:]) == ["waits", "waits, too"], written
"""
)

REPLACED = (
    START
    + """
class Held(logging.Handler):
    def emit(self, record):
        if record.getMessage() == "holds":
            inside.set()
            until(let_go)
        written.append(record.getMessage())

LOG.addHandler(Held())
first = spawn(LOG.info, "holds")
until(inside)
second = spawn(LOG.info, "waits")
others_wait()
ends(on_the_loop(lambda: None))
third = spawn(LOG.info, "comes later")
others_wait()
let_go.set()
ends(first, second, third)
ends(on_the_loop(LOG.info, "comes last"))
assert written[-1] == "comes last" and len(written) == 4, written
"""
)

CONFIGURED = (
    START
    + """
def held():
    inside.set()
    assert let_go.wait(30)
    return logging.NullHandler()

ends(on_the_loop(lambda: None))
first = on_the_loop(logging.config.dictConfig, {"version": 1, "handlers": {"held": {"()": held}}})
until(inside)
second = spawn(lambda: written.append(logging.getLogger("shop.another")))
others_wait()
assert not written
let_go.set()
ends(first, second)
assert written
"""
)

TOGETHER = (
    START
    + """
class OneByOne(logging.Handler):
    writing = False

    def emit(self, record):
        text = record.getMessage()
        if text.startswith("inner"):  # of who has the handler already
            return
        if self.writing:
            wrong.append(text)
        self.writing = True
        sleep(0)
        LOG.info("inner")
        sleep(0)
        self.writing = False
        written.append(text)

def write(kind):
    for number in range(20):
        LOG.info("%s %d", kind, number)

LOG.addHandler(OneByOne())
ends(*[on_the_loop(write, f"loop {n}") for n in range(10)], *[spawn(write, f"greenlet {n}") for n in range(10)])
assert not wrong, wrong
assert len(set(written)) == len(written) == 400, len(written)
"""
)

FORKED = (
    START
    + """
class Held(logging.Handler):
    def emit(self, record):
        if record.getMessage() == "holds":
            inside.set()
            let_go.wait(30)
        written.append(record.getMessage())

LOG.addHandler(Held())
first = on_the_loop(LOG.info, "holds")
until(inside)
child = os.fork()
if not child:
    LOG.info("of the child")
    os._exit(0 if written == ["of the child"] else 1)
assert os.waitpid(child, 0)[1] == 0
let_go.set()
ends(first)
"""
)


def ran(script, *arguments):
    """The script ended well."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "greenlet.error" not in ended.stderr, ended.stderr


@pytest.mark.parametrize("made", ["early", "late"])
@pytest.mark.parametrize("who", ["greenlet holds", "loop holds"])
@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_who_waits_for_a_handler_gets_it_when_the_other_has_written(kind, who, made):
    ran(HELD, kind, who, made)


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_greenlets_that_wait_when_the_loop_begins_go_on(kind):
    ran(REPLACED, kind)


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_loggers_are_made_while_a_step_on_the_loop_configures_logging(kind):
    ran(CONFIGURED, kind)


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_handlers_write_one_record_at_a_time(kind):
    ran(TOGETHER, kind)


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_a_forked_child_logs_though_the_loop_was_writing(kind):
    ran(FORKED, kind)
