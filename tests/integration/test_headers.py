"""What an application puts into its messages: the starter's in every message of the run, whoever sends it."""

from __future__ import annotations

import contextvars
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext

import pytest
import tenants
from celery import Celery
from tenants import tenant

from hephaestus_celery import Hephaestus
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.runners.celery.headers import MOST_BYTES, HeaderCapture
from hephaestus_celery.runners.messages import messages

# How an application is made, what goes on in its process, and which header names the tenant.
WAYS = {
    "an overridden send_task": (tenants.SendsTask, nullcontext, {}, "by_send_task"),
    "a stamp": (tenants.Stamps, nullcontext, {}, "by_stamp"),
    "a receiver": (Celery, tenants.listening, {}, "by_receiver"),
    "a wrapped publish": (Celery, tenants.wrapped_publish, {}, "by_publish"),
    "a class of tasks": (tenants.HasClass, nullcontext, {}, "by_apply_async"),
    "a router": (Celery, nullcontext, {"task_routes": [tenants.route]}, "by_router"),
}


@pytest.fixture(params=WAYS, ids=lambda way: way.replace(" ", "_"))
def site(request, redis_url, namespace, redis_storage):
    """An application that adds headers in one way."""
    with ExitStack() as held:
        yield Site(held, WAYS[request.param], redis_url, namespace)
    redis_storage._client.delete(namespace)


class Site:
    def __init__(self, held, way, url, namespace):
        make, going_on, settings, header = way
        self.app = held.enter_context(make("site", broker=url, set_as_current=False))
        self.app.conf.update(task_default_queue=namespace, hephaestus_namespace=namespace, **settings)
        self.runtime = held.enter_context(Hephaestus(self.app, name=namespace))
        self.going_on, self.header, self.namespace = going_on, header, namespace
        self.client = self.runtime.storage._client

    def start(self, name, value):
        """Start a run for a tenant."""

        def start():
            tenant.set(name)
            return self.runtime.start_instance(tenants.Visits, id=value)

        return contextvars.copy_context().run(start)

    def sent(self):
        """The headers of all messages that wait, by the run that they are of, oldest first."""
        found = {}
        for text in reversed(self.client.lrange(self.namespace, 0, -1)):
            headers = json.loads(text)["headers"]
            found.setdefault(headers["root_id"], []).append({**headers, **(headers["stamps"] or {})})
        return found


def test_each_run_is_its_starters_though_many_start_at_once(site):
    with site.going_on(), ThreadPoolExecutor(4) as pool:
        names = [f"tenant{number % 5}" for number in range(20)]
        handles = list(pool.map(site.start, names, map(str, range(20))))
    sent = site.sent()
    assert [[headers[site.header] for headers in sent[handle.run_id]] for handle in handles] == [
        [name] for name in names
    ]
    assert [
        handle.get().message_headers.get("stamps", handle.get().message_headers)[site.header] for handle in handles
    ] == names


@pytest.mark.parametrize("later_too", [True, False], ids=["whose_process_adds_its_own", "whose_process_adds_nothing"])
def test_later_messages_are_the_starters_whoever_sends_them(site, later_too):
    with site.going_on():
        handle = site.start("acme", "1")
    instance = handle.get()
    later = messages(
        "visits", 1, handle.run_id, [DispatchStep(Activation("left"), 1, 1)], headers=instance.message_headers
    )
    with site.going_on() if later_too else nullcontext():
        assert site.runtime.runner.prepare(later[0], parent=None) is None
        site.runtime.runner.dispatch(later)
    first, second = site.sent()[handle.run_id]
    assert (first[site.header], second[site.header]) == ("acme", "acme")
    assert (second["task"], second["id"], second["retries"]) == ("visits.left", f"{handle.run_id}:left:1.1", 0)


def test_what_goes_on_in_a_process_later_is_seen_from_then_on(redis_url, namespace, redis_storage):
    with Celery("site", broker=redis_url, set_as_current=False) as app, ExitStack() as held:
        app.conf.update(task_default_queue=namespace, hephaestus_namespace=namespace)
        runtime = held.enter_context(Hephaestus(app, name=namespace))
        plain = runtime.start_instance(tenants.Visits, id="1")
        with tenants.wrapped_publish():
            watched = runtime.start_instance(tenants.Visits, id="2")
        after = runtime.start_instance(tenants.Visits, id="3")
        found = {
            json.loads(text)["headers"]["root_id"]: "by_publish" in json.loads(text)["headers"]
            for text in redis_storage._client.lrange(namespace, 0, -1)
        }
    redis_storage._client.delete(namespace)
    assert found == {plain.run_id: False, watched.run_id: True, after.run_id: False}


def test_what_is_no_json_or_too_large_is_said_once_and_not_stored(caplog):
    with Celery("site", set_as_current=False) as app:
        capture = HeaderCapture(app, lambda producer, message: None)
        headers = {"a": 1, "b": object(), "c": "x" * MOST_BYTES, "d": float("nan"), "e": {"nested": ["x"]}}
        kept = [capture._storable(headers) for _ in range(2)]
    assert kept == [{"a": 1, "e": {"nested": ["x"]}}] * 2
    assert [record.args[0] for record in caplog.records] == ["b", "c", "d"]


def test_nothing_that_is_meant_for_a_broker_is_taken(site):
    with site.going_on():
        handle = site.start("acme", "1")
    assert handle.get().message_headers.keys() <= {site.header, "stamps", "stamped_headers"}


def test_each_of_many_starts_carries_what_its_application_adds(site):
    def starts():
        for number in range(130):
            tenant.set(f"tenant{number // 100}")  # the next batch is another tenant's
            yield str(number), {}

    with site.going_on():
        handles = contextvars.copy_context().run(site.runtime.start_many, tenants.Visits, starts())
    sent = site.sent()
    seen = [[headers[site.header] for headers in sent[handle.run_id]] for handle in handles]
    assert seen == [["tenant0"]] * 100 + [["tenant1"]] * 30


def test_many_starts_see_for_each_batch_what_goes_on_in_their_process(redis_url, namespace, redis_storage):
    with Celery("site", broker=redis_url, set_as_current=False) as app, ExitStack() as held:
        app.conf.update(task_default_queue=namespace, hephaestus_namespace=namespace)
        runtime = held.enter_context(Hephaestus(app, name=namespace))

        def starts():
            for number in range(350):
                if number == 150:
                    watching = held.enter_context(ExitStack())
                    watching.enter_context(tenants.wrapped_publish())
                if number == 250:
                    watching.close()
                yield str(number), {}

        handles = runtime.start_many(tenants.Visits, starts())
        found = {
            json.loads(text)["headers"]["root_id"]: "by_publish" in json.loads(text)["headers"]
            for text in redis_storage._client.lrange(namespace, 0, -1)
        }
    redis_storage._client.delete(namespace)
    assert [found[handle.run_id] for handle in handles] == [False] * 100 + [True] * 100 + [False] * 150
