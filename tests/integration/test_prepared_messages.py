"""Messages that the store sends, against those that kombu and Celery send: the same to the letter, or not used at all."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import flows
import pytest
from celery import Celery, signals
from heart import frozen
from kombu.transport.redis import Channel
from stillness import Stillness

from hephaestus_celery import Hephaestus, StorageError
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.runners.celery.dispatch import send_one
from hephaestus_celery.runners.celery.prepared_messages import MessagePreparer
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.storage.starts import PreparedMessage

RUN = new_run_id(milliseconds=1, instance_id="orderid::a1", random_bits=1)
HINT = Message(run_id=RUN, workflow="linear", activation=Activation("a"), attempt=1, token=1)


@pytest.fixture
def application(redis_url, namespace):
    """``application(**settings)``: a Celery application whose queues are this test's."""
    made = []

    def make(**settings):
        app = Celery("prepared", broker=redis_url, set_as_current=False)
        app.conf.update(task_default_queue=namespace, hephaestus_namespace=namespace, **settings)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def waiting(redis_storage, namespace):
    """``waiting(queue)``: the messages on a queue's list, decoded."""
    queues = set()

    def read(queue=namespace):
        queues.add(queue)
        return [json.loads(text) for text in redis_storage._client.lrange(queue, 0, -1)]

    yield read
    for queue in queues:
        redis_storage._client.delete(queue)


def sent(app, hint, *, default_queue=None):
    with app.producer_or_acquire() as producer:
        send_one(app, producer, hint, default_queue)


def without_tag(message):
    return {**message, "properties": {**message["properties"], "delivery_tag": None}}


def test_a_sealed_message_is_the_one_that_kombu_sends(application, redis_url, waiting, namespace):
    app = application()
    prepared = MessagePreparer(app, store=redis_url, default_queue=None).prepare(HINT, parent=None)
    sent(app, HINT)
    [message] = waiting()
    assert prepared.list == namespace
    assert without_tag(json.loads(prepared.text)) == without_tag(message)
    arguments, keywords, _ = json.loads(base64.b64decode(message["body"]))
    assert (arguments, keywords) == ([RUN, "a", 1, 1], {})


def test_it_goes_to_the_list_of_its_queue_and_priority(application, redis_url, waiting, namespace):
    app = application()
    hint = replace(HINT, queue=f"{namespace}-x", priority=6)
    prepared = MessagePreparer(app, store=redis_url, default_queue="unused").prepare(hint, parent=None)
    sent(app, hint)
    [message] = waiting(prepared.list)
    assert prepared.list == f"{namespace}-x\x06\x166"
    assert without_tag(json.loads(prepared.text)) == without_tag(message)


def test_the_time_limit_is_that_of_the_message(application, redis_url, waiting):
    app = application()
    preparer = MessagePreparer(app, store=redis_url, default_queue=None)
    hints = [replace(HINT, time_limit=limit) for limit in (None, 3.0, 4.0)]
    prepared = [json.loads(preparer.prepare(hint, parent=None).text) for hint in hints]
    for hint in reversed(hints):
        sent(app, hint)
    assert [without_tag(message) for message in prepared] == [without_tag(message) for message in waiting()]
    assert [message["headers"]["timelimit"] for message in prepared] == [[None, None], [4.0, 3.0], [5.0, 4.0]]


def test_the_default_queue_counts(application, redis_url, namespace):
    prepared = MessagePreparer(application(), store=redis_url, default_queue=f"{namespace}-y").prepare(
        HINT, parent=None
    )
    assert prepared.list == f"{namespace}-y"


def test_routes_of_the_configuration_count(application, redis_url, namespace):
    app = application(task_routes={"linear.*": {"queue": f"{namespace}-routed"}})
    assert (
        MessagePreparer(app, store=redis_url, default_queue=None).prepare(HINT, parent=None).list
        == f"{namespace}-routed"
    )


def test_each_has_a_tag_of_its_own_and_says_what_caused_it(application, redis_url):
    preparer = MessagePreparer(application(), store=redis_url, default_queue=None)
    one, two = (json.loads(preparer.prepare(HINT, parent="task1").text) for _ in range(2))
    assert one["properties"]["delivery_tag"] != two["properties"]["delivery_tag"]
    assert one["headers"]["parent_id"] == "task1"


@pytest.mark.parametrize(
    "settings",
    [
        {"task_routes": [lambda name, args, kwargs, options, task=None, **_: None]},
        {"task_compression": "gzip"},
        {"task_serializer": "pickle"},
        {"task_send_sent_event": True},
        {"task_inherit_parent_priority": True},
        {"broker_transport_options": {"global_keyprefix": "other:"}},
        {"broker_write_url": "redis://elsewhere/0"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_may_make_messages_differ_leaves_them_to_celery(application, redis_url, settings):
    assert (
        MessagePreparer(application(**settings), store=redis_url, default_queue=None).prepare(HINT, parent=None) is None
    )


@pytest.mark.parametrize("signal", [signals.before_task_publish, signals.after_task_publish], ids=["before", "after"])
def test_a_receiver_of_publishing_signals_is_called_for_each_message(application, redis_url, signal):
    preparer = MessagePreparer(application(), store=redis_url, default_queue=None)
    published = []

    def listener(**facts):
        published.append(facts["routing_key"])

    signal.connect(listener, weak=False)
    try:
        assert preparer.prepare(HINT, parent=None) is None
    finally:
        signal.disconnect(listener)
    assert preparer.prepare(HINT, parent=None) is not None


@pytest.mark.parametrize("store", ["redis://localhost:6379/0", "sentinel://localhost:26379", None])
def test_another_place_is_not_the_broker(application, store):
    assert MessagePreparer(application(), store=store, default_queue=None).prepare(HINT, parent=None) is None


@pytest.mark.parametrize(
    ("broker", "store", "same"),
    [
        ("redis://h", "redis://h:6379/0", True),
        ("redis://user:secret@h/0", "redis://user:secret@h", True),
        ("redis://:secret@h/0", "redis://user:other@h/0", False),
        ("rediss://h/1", "rediss://h/1", True),
        ("redis://h/1", "redis://h/0", False),
        ("redis://h:1/0", "redis://h:2/0", False),
        ("redis://h/0;redis://i/0", "redis://h/0", False),
        ("amqp://h", "redis://h", False),
        ("memory://", "memory://", False),
    ],
)
def test_urls_say_whether_the_store_is_the_broker(broker, store, same):
    app = Celery("prepared", broker=broker, set_as_current=False)
    assert MessagePreparer(app, store=store, default_queue=None)._possible is same


def test_a_start_has_sent_its_message_when_it_is_stored(application, redis_url, waiting, namespace):
    app = application(hephaestus_state_backend=redis_url)
    with Hephaestus(app, name=namespace) as runtime:
        runtime._celery_runner.dispatch = lambda messages: pytest.fail(f"sent again: {messages}") if messages else None
        handle = runtime.start_instance(flows.Linear, {"value": 1}, id="a1")
    [message] = waiting()
    assert message["headers"]["root_id"] == handle.run_id


def test_a_queue_that_there_is_none_of_keeps_no_start_and_no_commit_from_being_stored(
    application, redis_url, namespace, caplog
):
    app = application(
        hephaestus_state_backend=redis_url,
        hephaestus_default_queue=f"{namespace}-nowhere",
        task_create_missing_queues=False,
    )
    preparer = MessagePreparer(app, store=redis_url, default_queue=f"{namespace}-nowhere")
    assert preparer.prepare(HINT, parent="task1") is None
    with Hephaestus(app, name=namespace) as runtime:
        assert runtime.start_instance(flows.Linear, {"value": 1}, id="a1").get().status == "pending"
    assert "can't be sent" in caplog.text


def test_a_start_without_a_server_fails_soon():
    app = Celery("prepared", broker="redis://localhost:1/0", set_as_current=False)
    with Hephaestus(app) as runtime:
        with Stillness() as still, pytest.raises(StorageError):
            runtime.start_instance(flows.Linear, {"value": 1}, id="a1")
        assert still.seconds < runtime.settings.state_timeout.total_seconds()
    app.close()


def test_a_list_that_is_none_leaves_the_message_to_celery(redis_storage, drive, namespace):
    redis_storage._client.set(f"{namespace}:taken", "a string")
    stand = drive(redis_storage)
    run = stand.start(prepared_message=PreparedMessage(list=f"{namespace}:taken", text="{}"))
    assert run.dispatched
    run.claim("a")
    done = run.complete("a", prepared={"b": PreparedMessage(list=f"{namespace}:taken", text="{}")})
    assert [dispatch.activation.step for dispatch in done.dispatches] == ["b"]
    assert run.load().steps["b"].status == "active"


def test_a_join_is_sent_by_the_branch_that_comes_last(redis_storage, drive, namespace):
    edges = {("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}
    run = drive(redis_storage).start(edges)
    run.step("a")
    letters = f"{namespace}:letters"
    for step in ("b", "c"):
        assert redis_storage._client.llen(letters) == 0
        run.claim(step)
        done = run.complete(step, prepared={"d": PreparedMessage(list=letters, text=f"from {step}")})
    assert redis_storage._client.lrange(letters, 0, -1) == [b"from c"]
    assert list(done.activated) == ["d"]
    assert list(done.dispatches) == []


def test_a_repeated_commit_sends_nothing_again(redis_storage, drive, namespace):
    run = drive(redis_storage).start()
    run.claim("a")
    letters = f"{namespace}:letters"
    commit = run.completion("a", prepared={"b": PreparedMessage(list=letters, text="{}")})
    first, again = redis_storage.commit(commit), redis_storage.commit(commit)
    assert redis_storage._client.llen(letters) == 1
    assert (list(first.dispatches), list(again.dispatches)) == ([], [])


def counted(preparer):
    """The names of the steps of which a specimen was prepared."""
    prepared, prepare = [], preparer._prepare
    preparer._prepare = lambda message: prepared.append(message.step) or prepare(message)
    return prepared


def test_steps_that_are_routed_alike_share_a_template(application, redis_url, waiting, namespace):
    app = application(task_routes={"linear.x*": {"queue": f"{namespace}-x"}})
    preparer = MessagePreparer(app, store=redis_url, default_queue=None)
    specimens = counted(preparer)
    hints = [replace(HINT, activation=Activation(f"{letter}{number}")) for number in range(50) for letter in "ax"]
    prepared = [preparer.prepare(hint, parent=None) for hint in hints]
    assert specimens == ["a0", "a0", "x0", "x0", "a1", "x1"]
    for hint in reversed(hints):
        sent(app, hint)
    for queue in (namespace, f"{namespace}-x"):
        texts = [json.loads(prepared_message.text) for prepared_message in prepared if prepared_message.list == queue]
        assert [without_tag(message) for message in texts] == [without_tag(message) for message in waiting(queue)]


def test_what_depends_on_the_name_of_the_task_is_seen_at_the_second_one(application, redis_url, monkeypatch):
    prepare = Channel.prepare_message

    def prepare_named(channel, *arguments):
        arguments[4]["team"] = arguments[4]["task"]
        return prepare(channel, *arguments)

    app = application()
    monkeypatch.setattr(Channel, "prepare_message", prepare_named)
    preparer = MessagePreparer(app, store=redis_url, default_queue=None)
    assert preparer.prepare(HINT, parent=None) is not None
    for step in "bcd":
        assert preparer.prepare(replace(HINT, activation=Activation(step)), parent=None) is None


def test_the_first_start_of_a_workflow_waits_for_no_frozen_server_on_an_open_connection(application):
    with EmbeddedServer() as server:
        app = application()
        app.conf.broker_url = server.url
        with Hephaestus(app) as hephaestus:
            hephaestus.start_instance(flows.Linear, {"value": 1}, id="1")
            with app.producer_or_acquire() as producer:
                assert producer.connection.connected
            with frozen(server), pytest.raises(StorageError):
                # Its message goes to another queue, which is to be declared.
                hephaestus.start_instance(flows.Errand, {"value": 1}, id="2")
