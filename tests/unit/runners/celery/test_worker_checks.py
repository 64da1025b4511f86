"""What a worker logs at its start about settings that endanger something."""

from __future__ import annotations

from types import SimpleNamespace

import flows  # noqa: F401 - defines the workflows whose steps are tasks
import pytest
from celery import Celery
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.thread import TaskPool as ThreadPool

from hephaestus_celery import Hephaestus
from hephaestus_celery.runners.celery import worker_checks
from hephaestus_celery.runners.celery.worker_checks import advise


@pytest.fixture
def advice(caplog):
    """``advice(app, pool)``: what is logged about the settings of a worker with this pool.

    Other tests leave their workflows in this process, and whoever makes a runtime may log something about those.
    """

    def find(app, pool):
        advise(app, SimpleNamespace(connection=app.connection_for_read(), pool=pool(app=app)))
        return [
            record.getMessage() for record in caplog.records if record.module == worker_checks.__name__.split(".")[-1]
        ]

    return find


@pytest.fixture
def advised(advice, redis_url):
    """``advised(broker, pool, **settings)``: what is logged for a worker like that; ``tasks`` names tasks of the user's."""

    def make(broker, pool, *, tasks=(), **settings):
        app = Celery("advice", broker=broker, set_as_current=False)
        app.conf.update(hephaestus_state_backend=redis_url, **settings)
        for name in tasks:
            app.task(name=name, shared=False)(print_nothing)
        with Hephaestus(app):
            app.finalize()
            for name in [name for name in app.tasks if name.startswith("pytest_celery.")]:
                del app.tasks[name]  # shared with every application of the process
            messages = advice(app, pool)
        app.close()
        return messages

    return make


def print_nothing():
    """A task of the user's."""


def test_nothing_is_logged_where_nothing_is_wrong(advised):
    assert advised("redis://", PreforkPool, tasks=["mail"]) == []
    assert advised("amqp://", PreforkPool, tasks=["mail"]) == []
    assert advised("redis://", ThreadPool) == []


def test_threads_on_rabbitmq_are_advised_of_what_keeps_them_going(advised):
    [message] = advised("amqp://", ThreadPool)
    assert "worker_enable_prefetch_count_reduction = False" in message


def test_threads_on_rabbitmq_with_the_right_setting_get_no_advice(advised):
    assert advised("amqp://", ThreadPool, worker_enable_prefetch_count_reduction=False) == []


def test_a_setting_that_nobody_reads_is_advised(advised):
    [message] = advised("redis://", PreforkPool, hephaestus_leese=3)
    assert message == "hephaestus_leese is no setting of hephaestus-celery; did you mean hephaestus_lease?"


def test_settings_of_an_object_with_a_namespace_are_checked_too(advice, redis_url):
    settings = SimpleNamespace(CELERY_HEPHAESTUS_STATE_BACKEND=redis_url, CELERY_HEPHAESTUS_LEESE=3, OTHER=1)
    app = Celery("advice", broker="redis://", set_as_current=False)
    app.config_from_object(settings, namespace="CELERY")
    with Hephaestus(app):
        messages = advice(app, PreforkPool)
    app.close()
    assert [message.partition(";")[2] for message in messages] == [" did you mean hephaestus_lease?"]


UNLISTED = {"broker_transport_options": {"ack_emulation": False}}


def test_a_worker_that_runs_workflows_only_needs_no_list_of_unacknowledged_messages(advised):
    assert advised("redis://", PreforkPool, **UNLISTED) == []


@pytest.mark.parametrize(
    ("tasks", "named"),
    [(["mail"], "a message of mail that"), (["d", "c", "b", "a"], "a message of a, b, c (and of 1 more) that")],
)
def test_tasks_that_need_that_list_are_named(advised, tasks, named):
    [message] = advised("redis://", PreforkPool, tasks=tasks, **UNLISTED)
    assert named in message


def test_on_another_broker_that_option_means_nothing(advised):
    assert advised("amqp://", PreforkPool, tasks=["mail"], **UNLISTED) == []
