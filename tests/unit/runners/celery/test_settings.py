"""Settings are Celery settings, however the application was configured."""

from __future__ import annotations

from datetime import timedelta

import flows  # noqa: F401 - defines workflows
import pytest
from celery import Celery
from celery.local import Proxy
from defining import define, sound

from hephaestus_celery import ConfigurationError, Hephaestus, LocalRunner, MemoryStorage, RetryPolicy
from hephaestus_celery.runners.celery import CeleryRunner, settings_of, state_backend
from hephaestus_celery.runners.celery.prepared_messages import MessagePreparer
from hephaestus_celery.storage.redis.store import RedisStorage

REDIS = "redis://localhost:6379/0"


class DjangoSettings:
    CELERY_BROKER_URL = REDIS
    CELERY_HEPHAESTUS_NAMESPACE = "shop"
    CELERY_HEPHAESTUS_RETENTION = None
    CELERY_HEPHAESTUS_LEASE = timedelta(minutes=1)


@pytest.fixture
def app():
    app = Celery("shop", broker=REDIS, set_as_current=False)
    yield app
    app.close()


def test_settings_are_read_from_the_application(app):
    app.conf.update(hephaestus_lease=5, hephaestus_default_retry={"max_attempts": 2})
    settings = settings_of(app)
    assert (settings.lease, settings.default_retry) == (timedelta(seconds=5), RetryPolicy(max_attempts=2))


def test_settings_may_have_a_namespace_as_in_django():
    app = Celery("shop", set_as_current=False)
    app.config_from_object(DjangoSettings, namespace="CELERY")
    settings = state_backend(app, settings_of(app))
    assert (settings.namespace, settings.retention, settings.lease) == ("shop", None, timedelta(minutes=1))
    assert settings.state_backend == REDIS
    app.close()


def test_the_state_is_kept_in_the_broker_where_that_is_a_redis(app):
    assert state_backend(app, settings_of(app)).state_backend == REDIS


def test_the_result_backend_goes_before_the_broker(app):
    app.conf.result_backend = "redis://results:6379/1"
    assert state_backend(app, settings_of(app)).state_backend == "redis://results:6379/1"


def test_the_setting_goes_before_both(app):
    app.conf.result_backend = "redis://results:6379/1"
    app.conf.hephaestus_state_backend = "redis://state:6379/2"
    assert state_backend(app, settings_of(app)).state_backend == "redis://state:6379/2"


def test_of_several_brokers_the_first_counts():
    app = Celery("shop", broker=f"{REDIS};redis://second:6379/0", set_as_current=False)
    assert state_backend(app, settings_of(app)).state_backend == REDIS
    app.close()


def test_a_sentinel_inherits_the_name_of_its_master():
    app = Celery("shop", broker="sentinel://one:26379;sentinel://two:26379", set_as_current=False)
    app.conf.broker_transport_options = {"master_name": "main"}
    settings = state_backend(app, settings_of(app))
    assert (settings.state_backend, settings.options) == (
        "sentinel://one:26379;sentinel://two:26379",
        {"master_name": "main"},
    )
    app.close()


@pytest.mark.parametrize("broker", ["amqp://localhost//", "memory://", "sqs://"])
def test_without_a_redis_the_error_says_what_to_set(broker):
    app = Celery("shop", broker=broker, set_as_current=False)
    with Hephaestus(app) as hephaestus, pytest.raises(ConfigurationError, match="hephaestus_state_backend"):
        hephaestus.get("order::1")
    app.close()


def test_a_state_backend_that_is_no_redis_is_refused(app):
    app.conf.hephaestus_state_backend = "postgresql://localhost/state"
    with pytest.raises(ConfigurationError, match="postgresql"):
        Hephaestus(app)


@pytest.mark.parametrize("given", ["redis://:secret@localhost:6379/0", object(), 5])
def test_what_is_no_application_is_refused_and_not_shown(given):
    with pytest.raises(ConfigurationError, match=rf"Hephaestus\(app\), not a {type(given).__name__}; without one"):
        Hephaestus(given)


def test_a_bad_setting_is_named(app):
    app.conf.hephaestus_partitions = 0
    with pytest.raises(ConfigurationError, match="hephaestus_partitions must be a positive int, not 0"):
        Hephaestus(app)


def test_an_application_with_workers_gets_the_celery_runner(app):
    with Hephaestus(app) as hephaestus:
        assert isinstance(hephaestus.runner, CeleryRunner)


def test_an_eager_application_runs_here_and_needs_no_redis():
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_always_eager = True
    with Hephaestus(app) as hephaestus:
        assert isinstance(hephaestus.runner, LocalRunner)
        assert isinstance(hephaestus.storage, MemoryStorage)
    app.close()


def test_an_application_may_be_made_eager_after_its_runtime(app):
    with Hephaestus(app) as hephaestus:
        app.conf.task_always_eager = True
        assert isinstance(hephaestus.runner, LocalRunner)


def test_settings_may_be_changed_until_they_are_first_used(app):
    with Hephaestus(app) as hephaestus:
        app.conf.hephaestus_namespace = "late"
        assert hephaestus.settings.namespace == "late"


def test_the_application_is_not_finalized_by_its_runtime(app):
    with Hephaestus(app):
        assert not app.finalized


@pytest.mark.parametrize("kind", [list, tuple], ids=["list", "tuple"])
@pytest.mark.parametrize("name", ["broker_url", "broker_read_url", "broker_write_url"])
def test_a_broker_may_be_a_list(kind, name):
    app = Celery("shop", set_as_current=False)
    app.conf.update({"broker_url": REDIS, name: kind([REDIS])})
    assert state_backend(app, settings_of(app)).state_backend == REDIS
    assert MessagePreparer(app, store=REDIS, default_queue=None)._possible
    app.conf.update({name: kind([REDIS, "redis://second:6379/0"])})
    assert state_backend(app, settings_of(app)).state_backend == REDIS
    assert not MessagePreparer(app, store=REDIS, default_queue=None)._possible
    app.close()


class LocalProxy:
    """As werkzeug's: a name for an object that is there later."""

    def __init__(self, find):
        object.__setattr__(self, "find", find)

    def _get_current_object(self):
        return object.__getattribute__(self, "find")()

    def __getattr__(self, name):
        return getattr(self._get_current_object(), name)


@pytest.mark.parametrize("proxy", [Proxy, LocalProxy])
def test_a_proxy_stands_for_its_application(app, proxy):
    with Hephaestus(proxy(lambda: app)) as hephaestus:
        assert hephaestus.app is hephaestus.runner.app is app


def test_a_proxy_of_nothing_is_refused():
    def find():
        raise RuntimeError("working outside of a context")

    with pytest.raises(ConfigurationError, match="stands for no application yet"):
        Hephaestus(LocalProxy(find))


class Old:
    HEPHAESTUS_NAMESPACE = "old"
    HEPHAESTUS_STATE_BACKEND = REDIS
    BROKER_URL = "memory://"


class Prefixed:
    CELERY_HEPHAESTUS_NAMESPACE = "old"
    CELERY_HEPHAESTUS_STATE_BACKEND = REDIS
    CELERY_BROKER_URL = "memory://"


class Mixed:
    HEPHAESTUS_NAMESPACE = "old"
    HEPHAESTUS_STATE_BACKEND = REDIS
    CELERY_BROKER_URL = "memory://"


@pytest.mark.parametrize(("given", "prefix"), [(Old, None), (Prefixed, "CELERY"), (Mixed, "CELERY")])
def test_settings_have_the_names_that_the_application_gives_them(given, prefix):
    app = Celery("shop", set_as_current=False)
    with Hephaestus(app) as hephaestus:  # before its settings: none is read yet
        app.config_from_object(given, namespace=prefix)
        assert (hephaestus.settings.namespace, hephaestus.settings.state_backend) == ("old", REDIS)
    app.close()


def test_a_runtime_that_is_made_loads_no_configuration():
    app = Celery("shop", set_as_current=False)
    app.config_from_object("settings_that_are_not_there_yet")
    with Hephaestus(app):
        assert not app.configured
    app.close()


def test_each_application_of_a_factory_has_its_own_tasks():
    def create_app(namespace):
        app = Celery("shop", set_as_current=False)
        runtime = Hephaestus(app, name=namespace)
        app.conf.update(broker_url=REDIS, hephaestus_namespace=namespace)
        return app, runtime

    made = [create_app("one"), create_app("two")]
    for app, runtime in made:
        task = app.tasks["linear.a"]
        assert (task.app, task.runner, runtime.settings.namespace) == (app, runtime.runner, runtime.name)
    for app, runtime in made:
        runtime.close()
        app.close()


def test_two_stores_of_one_application_do_not_share_a_workflow():
    app = Celery("two-stores", broker="memory://", set_as_current=False)
    flow = define(**sound(name="shop.shared"))
    first, second = MemoryStorage(), MemoryStorage()
    with Hephaestus(app, storage=first, name="one") as one:
        with Hephaestus(app, storage=second, name="two") as two:
            for runtime in (one, two):
                with pytest.raises(ConfigurationError, match="their runs in different stores") as refused:
                    runtime.start_instance(flow, id="1")
                assert "<Hephaestus 'one'>" in str(refused.value)
                assert "<Hephaestus 'two'>" in str(refused.value)
            two.start_instance(define(**sound(name="shop.twos", hephaestus=two)), id="1").cancel()
        one.start_instance(flow, id="1").cancel()  # the other is closed
    with Hephaestus(app, storage=first), Hephaestus(app, storage=first) as again:
        again.start_instance(flow, id="1").cancel()
    with Hephaestus(app, storage=first), Hephaestus(app, storage=MemoryStorage(), runner=LocalRunner) as local:
        assert local.start_instance(flow, id="1").wait(10).status == "completed"
    app.close()


def test_one_store_that_two_runtimes_are_given_in_two_ways_is_one(redis_url, namespace, redis_storage):
    app = Celery("one-store", broker=redis_url, set_as_current=False)
    app.conf.update(hephaestus_namespace=namespace, hephaestus_state_backend=redis_url)
    flow = define(**sound(name="shop.given_twice"))
    with Hephaestus(app, name="named"), Hephaestus(app, storage=redis_storage, name="given") as given:
        given.start_instance(flow, id="1").cancel()
    other = RedisStorage(redis_url, namespace=f"{namespace}-other")
    refused = pytest.raises(ConfigurationError, match="their runs in different stores")
    with Hephaestus(app, name="named"), Hephaestus(app, storage=other, name="given") as given, refused:
        given.start_instance(flow, id="2")
    with Hephaestus(app, name="named"), Hephaestus(app, storage=other, name="given") as given:
        app.conf.hephaestus_state_backend = "nowhere"  # then the first can't begin anything
        given.start_instance(flow, id="3").cancel()
    other.close()
    app.close()


def test_a_workflow_of_another_runtime_is_refused_and_not_stored_for_ever(app):
    with Hephaestus(app, name="one") as one, Hephaestus(app, name="two") as two:
        flow = define(**sound(hephaestus=two))
        with pytest.raises(ConfigurationError, match="belongs to <Hephaestus 'two'>"):
            one.start_instance(flow, id="1")
    with Hephaestus() as local:  # executes whatever it is given
        assert local.start_instance(flow, id="1").wait(10).status == "completed"
