"""A store that answers nothing keeps no event loop waiting: each call of ``aio`` is tried on a server that is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from datetime import timedelta

import pytest
from celery import Celery
from heart import LONGEST_GAP, Heart, frozen
from stillness import Stillness

from hephaestus_celery import Done, Hephaestus, Status, Unique, WaitForEvent, Workflow
from hephaestus_celery.client.aio import _FLUSH_SECONDS, AioHephaestus
from hephaestus_celery.client.facade import AioWorkflow
from hephaestus_celery.client.handle import AioHandle
from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import StorageError, WaitTimeoutError
from hephaestus_celery.storage.redis.store import RedisStorage

LIMIT = 0.4
KINDS = {"runtime": AioHephaestus, "workflow": AioWorkflow, "handle": AioHandle}


class Asking(Workflow):
    unique = Unique("frozen")
    initial_step = WaitForEvent, {"event_name": "told", "timeout": 3600}
    transitions = {(WaitForEvent, "received"): Done, (WaitForEvent, "timeout"): Done}


ID = "frozen::a"
CONTEXT = {"text": "x"}
BULK = ("cancel_many", "delete_many", "pause_many", "retry_many", "unpause_many")
ARGUMENTS = {
    "runtime": {
        **dict.fromkeys(("cancel", "delete", "get", "history", "pause", "retry", "unpause", "wait"), (ID,)),
        **dict.fromkeys(BULK, ()),
        **dict.fromkeys(("pause_workflow", "unpause_workflow"), (Asking,)),
        **dict.fromkeys(("close", "count", "list"), ()),
        "cancel_timer": None,  # of a timer that was set
        "events": ("group",),
        "fork": (ID, "wait_for_event"),
        "resume": (ID, "told"),
        "schedule_resume": (ID, "wait_for_event", 60),
        "start_instance": (Asking, CONTEXT),
        "start_many": (Asking, [("m1", CONTEXT), ("m2", CONTEXT)]),
    },
    "workflow": {
        **dict.fromkeys(("cancel", "delete", "get", "handle", "history", "pause", "retry", "unpause", "wait"), ("a",)),
        **dict.fromkeys(("count", "list"), ()),
        "fork": ("a", "wait_for_event"),
        "resume": ("a", "told"),
        "start": ("b", CONTEXT),
        "start_many": ([("m1", CONTEXT), ("m2", CONTEXT)],),
    },
    "handle": {
        **dict.fromkeys(("cancel", "get", "history", "pause", "result", "retry", "status", "unpause", "wait"), ()),
        "resume": ("told",),
    },
}
"""What each call of ``aio`` is given here. A call that is not named here fails: name it."""
ASKS_NOTHING = {("runtime", "close")}
LONGEST = {("runtime", "close"): 10 * LIMIT + _FLUSH_SECONDS}
"""The seconds that a call may take here, where it waits for the broker, too, which is the same server."""


def is_call(kind, name):
    found = inspect.getattr_static(kind, name)
    return (
        not name.startswith("_")
        and (kind is not AioHandle or name not in ("id", "run_id"))
        and (inspect.isfunction(found) or isinstance(found, property))
    )


CALLS = [(of, name) for of, kind in KINDS.items() for name in dir(kind) if is_call(kind, name)]


@pytest.fixture(scope="module")
def server():
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def hephaestus(server, namespace):
    app = Celery("frozen", broker=server.url, set_as_current=False)
    app.conf.hephaestus_event_stream = 1000
    storage = RedisStorage(server.url, namespace=namespace, timeout=timedelta(seconds=LIMIT))
    with Hephaestus(app, storage=storage) as opened:
        yield opened
    app.close()


async def asked(hephaestus, handle, reference, of, name):
    """One call of ``aio``."""
    target = {"runtime": hephaestus.aio, "workflow": Asking.aio, "handle": handle.aio}[of]
    call = getattr(target, name)
    if inspect.isawaitable(call):  # a property
        return await call
    arguments = (reference,) if name == "cancel_timer" else ARGUMENTS[of][name]
    options = {"start_instance": {"id": "b"}, **{key: {"status_in": list(Status)} for key in BULK}}
    called = call(*arguments, **options.get(name, {}))
    return await (anext(aiter(called)) if name == "events" else called)


@contextlib.asynccontextmanager
async def waiting_run(hephaestus):
    """A run that waits, on an event loop that has its connections; and a timer of it."""
    async with hephaestus.aio:
        handle = await Asking.aio.start("a", CONTEXT)
        reference = await hephaestus.aio.schedule_resume(handle.id, "wait_for_event", 600)
        yield handle, reference


@pytest.mark.parametrize(("of", "name"), CALLS)
def test_a_call_to_a_frozen_store_keeps_no_loop_waiting_and_is_an_error_soon(hephaestus, server, of, name):
    async def ask():
        async with waiting_run(hephaestus) as (handle, reference), Heart() as heart:
            with frozen(server), Stillness() as waited:
                try:
                    await asked(hephaestus, handle, reference, of, name)
                except (StorageError, WaitTimeoutError) as error:
                    refused = error
                else:
                    refused = None
        return heart, waited.seconds, refused

    heart, took, refused = asyncio.run(ask())
    assert heart.busy < LONGEST_GAP
    assert heart.still < LIMIT / 2
    assert (refused is None) == ((of, name) in ASKS_NOTHING)
    assert took < LONGEST.get((of, name), 10 * LIMIT)


@pytest.mark.parametrize(("of", "name"), [call for call in CALLS if call not in ASKS_NOTHING])
def test_a_call_to_a_frozen_store_is_cancelled_at_once(hephaestus, server, of, name):
    async def cancel():
        async with waiting_run(hephaestus) as (handle, reference):
            with frozen(server):
                call = asyncio.create_task(asked(hephaestus, handle, reference, of, name))
                await asyncio.wait([call], timeout=0.02)
                assert not call.done()
                busy = time.thread_time()
                call.cancel()
                with Stillness() as waited:
                    await asyncio.wait([call], timeout=LIMIT)
                busy = time.thread_time() - busy
                assert call.cancelled()
            assert await hephaestus.aio.count() >= 1  # the loop's connections are in order
        return waited.seconds, busy

    took, busy = asyncio.run(cancel())
    assert busy < LONGEST_GAP
    assert took < LIMIT / 2
