"""Puts a runtime together from its settings: storage, runner and driver, with the clock and chance of all three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.config import Settings

if TYPE_CHECKING:
    from celery import Celery

    from hephaestus_celery.runners.driver import Driver
    from hephaestus_celery.runners.hooks import Hooks
    from hephaestus_celery.runners.port import Runner
    from hephaestus_celery.storage.port import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one runtime that were put together."""

    storage: Storage
    runner: Runner
    driver: Driver
    clock: Clock
    chance: Chance


def put_together(
    app: Celery | None,
    *,
    settings: Settings | None,
    storage: Storage | None,
    runner: Runner | None,
    celery_runner: Runner | None,
    hooks: Hooks,
    clock: Clock,
    chance: Chance,
) -> Parts:
    """The parts of a runtime: those that were given, and for the others what the settings of the application say.

    ``settings`` are those of a runtime without one.
    """
    # Imported here, as Celery is: who only defines workflows waits for none of it.
    from hephaestus_celery.runners.driver import Driver

    settings = settings or Settings()
    if app is not None:
        from hephaestus_celery.runners.celery import is_eager, settings_of, state_backend

        settings = settings_of(app)
        if not is_eager(app):
            runner = runner or celery_runner
            if storage is None:
                settings = state_backend(app, settings)
                storage = _redis(settings, clock=clock, chance=chance)
    storage = storage or _memory(clock=clock, chance=chance)
    runner = runner or _local()
    driver = Driver(storage=storage, settings=settings, dispatcher=runner, hooks=hooks, clock=clock, chance=chance)
    if runner is not celery_runner:
        runner.bind(_giving(driver))
    return Parts(storage=storage, runner=runner, driver=driver, clock=clock, chance=chance)


def _giving(driver: Driver) -> Callable[[], Driver]:
    return lambda: driver


def _local() -> Runner:
    from hephaestus_celery.runners.local import LocalRunner

    return LocalRunner()


def _memory(*, clock: Clock, chance: Chance) -> Storage:
    from hephaestus_celery.storage.memory import MemoryStorage

    return MemoryStorage(clock=clock, chance=chance)


def _redis(settings: Settings, *, clock: Clock, chance: Chance) -> Storage:
    from hephaestus_celery.storage.redis import RedisStorage

    return RedisStorage(
        str(settings.state_backend),
        namespace=settings.namespace,
        partitions=settings.partitions,
        timeout=settings.state_timeout,
        options=settings.options,
        clock=clock,
        chance=chance,
    )
