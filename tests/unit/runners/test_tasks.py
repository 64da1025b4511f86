"""Tasks: what is registered on an application, and what of it is another's."""

from __future__ import annotations

import secrets

import pytest
from celery import Celery
from defining import A, a_step, define

from hephaestus_celery import Done, Hephaestus
from hephaestus_celery.runners.celery.task import StepTask


@pytest.fixture
def app(redis_url, namespace):
    """An application with a runtime, which was there before the workflows were."""
    app = Celery("tasks", broker=redis_url, set_as_current=False)
    app.conf.update(hephaestus_state_backend=redis_url, hephaestus_namespace=namespace)
    with Hephaestus(app, name=namespace):
        app.finalize()
        yield app
    app.close()


@pytest.fixture
def name():
    """Names a workflow of this test and of no other."""
    return f"tasks.{secrets.token_hex(6)}"


def test_a_workflow_that_is_defined_anew_replaces_its_tasks(app, name):
    for limit in (3, 5):
        slow = a_step("Slow", "ok", time_limit=limit)
        define(name=name, initial_step=slow, transitions={(slow, "ok"): Done})
        assert app.tasks[f"{name}.slow"].soft_time_limit == limit


def test_the_versions_of_one_name_share_their_tasks(app, name):
    for version in (1, 2):
        define(name=name, version=version, initial_step=A, transitions={(A, "ok"): Done})
    assert isinstance(app.tasks[f"{name}.a"], StepTask)


def test_celery_warns_where_another_task_has_the_name(app, name):
    @app.task(name=f"{name}.a", shared=False)
    def another():
        pass

    with pytest.warns(match="already registered"):
        define(name=name, initial_step=A, transitions={(A, "ok"): Done})
