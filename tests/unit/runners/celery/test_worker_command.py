"""What the command `worker` adds to the options of Celery's worker, and which tasks it takes for endangered."""

from __future__ import annotations

import click
import pytest
from celery import Celery
from celery.bin.base import CLIContext

from hephaestus_celery.runners.celery.worker_command import PreparedWorker


def nothing():
    """The body of a task."""


# Celery means to ask `queue` of a task no more in its version 6, and asks it until then.
pytestmark = pytest.mark.filterwarnings("ignore:\\s*The 'queue' task attribute:celery.exceptions.CDeprecationWarning")


@pytest.fixture
def prepare():
    """``prepare(*arguments, **settings)``: a worker of an application with the tasks `mail` and `report`."""

    def one(*arguments, broker="redis://", backend=None, **settings):
        app = Celery("prepared", broker=broker, backend=backend, set_as_current=False)
        app.conf.update(settings)
        app.task(nothing, name="mail", shared=False)
        app.task(nothing, name="report", queue="reports", shared=False)
        for shared in [name for name in app.tasks if name.startswith("pytest_celery.")]:
            app.tasks.pop(shared)
        context = click.Context(click.Command("celery"), obj=CLIContext(app=app, no_color=True, workdir=None))
        return PreparedWorker(app, context, arguments)

    return one


def test_it_takes_one_message_in_advance_unless_something_else_is_wanted(prepare):
    def multiplier(*arguments, **settings):
        return prepare(*arguments, **settings)._context.params["prefetch_multiplier"]

    assert multiplier() == 1
    assert multiplier(worker_prefetch_multiplier=4) == 4
    assert multiplier("--prefetch-multiplier", "7") == 7
    assert multiplier("--prefetch-multiplier=7", worker_prefetch_multiplier=4) == 7


@pytest.mark.parametrize(
    ("arguments", "settings", "endangered"),
    [
        ((), {}, {"celery": ["mail"]}),
        (("-Q", "steps"), {}, {}),
        (("-Q", "steps,reports"), {}, {"reports": ["report"]}),
        (("-Q", "steps,reports", "-X", "reports"), {}, {}),
        ((), {"task_routes": {"mail": {"queue": "post"}}}, {}),
        (("-Q", "post"), {"task_routes": {"ma*": {"queue": "post"}}}, {"post": ["mail"]}),
        (
            (),
            {"backend": "file:///tmp", "task_routes": {"mail": {"queue": "post"}}},
            {"celery": ["celery.chord_unlock"]},
        ),
        ((), {"backend": "redis://", "task_routes": {"mail": {"queue": "post"}}}, {}),
        (("-Q", "steps"), {"task_routes": (lambda name, args, *_, **__: args[0],)}, {"steps": ["mail", "report"]}),
        ((), {"broker": "amqp://"}, {}),
    ],
)
def test_tasks_that_may_come_to_its_queues_are_endangered(prepare, arguments, settings, endangered):
    assert prepare(*arguments, **settings).endangered() == endangered


def test_the_list_is_dropped_without_other_options_of_the_transport(prepare):
    worker = prepare(broker_transport_options={"visibility_timeout": 60})
    assert worker.keeps_list
    worker.drop_list()
    assert not worker.keeps_list
    assert worker._app.conf.broker_transport_options == {"visibility_timeout": 60, "ack_emulation": False}


def test_what_celery_does_not_know_is_misuse(prepare):
    with pytest.raises(click.UsageError, match="--nonsense"):
        prepare("--nonsense")


def test_settings_that_are_read_with_a_namespace_count_as_the_application_s(prepare):
    class Configured:
        CELERY_WORKER_PREFETCH_MULTIPLIER = 4

    app = Celery("prepared", broker="redis://", set_as_current=False)
    app.config_from_object(Configured, namespace="CELERY")
    context = click.Context(click.Command("celery"), obj=CLIContext(app=app, no_color=True, workdir=None))
    assert PreparedWorker(app, context, ())._context.params["prefetch_multiplier"] == 4
