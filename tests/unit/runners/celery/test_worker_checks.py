"""What a worker says at its start about settings that endanger something."""

from __future__ import annotations

from types import SimpleNamespace

import flows  # noqa: F401 - defines the workflows whose steps are tasks
import pytest
from celery import Celery
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.thread import TaskPool as ThreadPool

from hephaestus_celery import Hephaestus
from hephaestus_celery.runners.celery.worker_checks import advise


@pytest.fixture
def told(caplog, redis_url):
    """``told(broker, pool, **settings)``: what a worker like that says; ``tasks`` names tasks of the user's."""

    def make(broker, pool, *, tasks=(), **settings):
        app = Celery("advice", broker=broker, set_as_current=False)
        app.conf.update(hephaestus_state_backend=redis_url, **settings)
        for name in tasks:
            app.task(name=name, shared=False)(print_nothing)
        with Hephaestus(app):
            app.finalize()
            for name in [name for name in app.tasks if name.startswith("pytest_celery.")]:
                del app.tasks[name]  # shared with every application of the process
            advise(app, SimpleNamespace(connection=app.connection_for_read(), pool=pool(app=app)))
        app.close()
        # What other tests have defined in this process may be told, too.
        return [message for message in caplog.messages if "is stored under the name" not in message]

    return make


def print_nothing():
    """A task of the user's."""


def test_nothing_is_said_where_nothing_is_wrong(told):
    assert told("redis://", PreforkPool, tasks=["mail"]) == []
    assert told("amqp://", PreforkPool, tasks=["mail"]) == []
    assert told("redis://", ThreadPool) == []


def test_threads_on_rabbitmq_are_told_what_keeps_them_going(told):
    [message] = told("amqp://", ThreadPool)
    assert "worker_enable_prefetch_count_reduction = False" in message


def test_threads_on_rabbitmq_that_are_set_right_are_told_nothing(told):
    assert told("amqp://", ThreadPool, worker_enable_prefetch_count_reduction=False) == []


def test_a_setting_that_nobody_reads_is_told(told):
    [message] = told("redis://", PreforkPool, hephaestus_leese=3)
    assert message == "hephaestus_leese is no setting of hephaestus-celery; did you mean hephaestus_lease?"


def test_settings_of_an_object_with_a_namespace_are_looked_at_too(caplog, redis_url):
    settings = SimpleNamespace(CELERY_HEPHAESTUS_STATE_BACKEND=redis_url, CELERY_HEPHAESTUS_LEESE=3, OTHER=1)
    app = Celery("advice", broker="redis://", set_as_current=False)
    app.config_from_object(settings, namespace="CELERY")
    with Hephaestus(app):
        advise(app, SimpleNamespace(connection=app.connection_for_read(), pool=PreforkPool(app=app)))
    app.close()
    assert [message.partition(";")[2] for message in caplog.messages] == [" did you mean hephaestus_lease?"]


UNLISTED = {"broker_transport_options": {"ack_emulation": False}}


def test_a_worker_that_runs_workflows_only_needs_no_list_of_unacknowledged_messages(told):
    assert told("redis://", PreforkPool, **UNLISTED) == []


@pytest.mark.parametrize(
    ("tasks", "named"),
    [(["mail"], "a message of mail that"), (["d", "c", "b", "a"], "a message of a, b, c (and of 1 more) that")],
)
def test_tasks_that_need_that_list_are_named(told, tasks, named):
    [message] = told("redis://", PreforkPool, tasks=tasks, **UNLISTED)
    assert named in message


def test_on_another_broker_that_option_means_nothing(told):
    assert told("amqp://", PreforkPool, tasks=["mail"], **UNLISTED) == []
