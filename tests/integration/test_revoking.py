"""A cancellation revokes the task that holds a step, also where its message was sent again and is a newer one."""

from __future__ import annotations

import pytest
import tenants
from celery import Celery

from hephaestus_celery import Hephaestus, LocalRunner
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.storage.due import Outstanding
from hephaestus_celery.testing.conformance.driven_values import DURATIONS


class Silent(LocalRunner):
    """Sends nothing: the messages of this test are claimed by hand."""

    def dispatch(self, messages):
        pass


@pytest.fixture
def revoked(redis_url, namespace, redis_storage, monkeypatch):
    """An application, its runtime, and the ids of the tasks that its workers are asked to leave."""
    with Celery("revoking", broker=redis_url, set_as_current=False) as app:
        app.conf.update(task_default_queue=namespace, hephaestus_namespace=namespace)
        ids_seen = []
        monkeypatch.setattr(
            app.control, "revoke", lambda ids, **_: ids_seen.extend([ids] if isinstance(ids, str) else ids)
        )
        with Hephaestus(app, name=namespace) as hephaestus:
            yield hephaestus, ids_seen
    redis_storage._client.delete(namespace)


def test_the_task_that_holds_a_step_is_revoked_and_not_a_later_copy_of_its_message(revoked):
    hephaestus, ids_seen = revoked
    storage = hephaestus.storage
    handle = hephaestus.start_instance(tenants.Visits, id="1")
    prefix = storage.keys.of_run(handle.run_id).prefix
    [lane] = [name.decode().partition("lane:")[2] for name in storage._client.scan_iter(f"{prefix}lane:*", count=1000)]
    lost = Outstanding(
        run_id=handle.run_id,
        name=tenants.Visits.name,
        version=1,
        dispatch=DispatchStep(Activation("who"), 1, 1),
        passed=True,
    )
    [entry] = storage.resend(0, {lost: lane}, lane=lane, operation="again", worker="w1", durations=DURATIONS)
    assert entry.dispatch.token == 2
    driver = Driver(storage=storage, settings=hephaestus.settings, dispatcher=Silent())
    holder = f"{handle.run_id}:who:1.1"  # the first message was late, and is claimed after all
    job = driver.claim(tenants.Visits.name, handle.run_id, Activation("who"), 1, worker=Worker(task_id=holder))
    report = handle.cancel("enough")
    assert (report.executing, holder in ids_seen) == ({"who"}, True)
    driver.release(job)
    driver.close()
