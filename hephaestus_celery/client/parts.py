"""Puts a runtime together from its settings: storage, runner and driver, with the clock and chance of all three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hephaestus_celery.clock import Chance, Clock
from hephaestus_celery.config import PREFIX, Settings, checked
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.exceptions import ConfigurationError

if TYPE_CHECKING:
    from celery import Celery

    from hephaestus_celery.runners.driver import Driver
    from hephaestus_celery.runners.hooks import Hooks
    from hephaestus_celery.runners.local import LocalRunner
    from hephaestus_celery.runners.port import Runner
    from hephaestus_celery.storage.port import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one runtime that were put together; ``callers`` is the runner where it executes on the threads of callers."""

    storage: Storage
    runner: Runner
    driver: Driver
    callers: LocalRunner | None = None
    clock: Clock
    chance: Chance


_OF_A_STORE = ("state_backend", "state_options", "state_timeout", "namespace", "partitions")


def check_settings(settings: object, *, app: object) -> Settings:
    """The settings of a runtime without application, checked; ``ConfigurationError`` names what is wrong."""
    if not isinstance(settings, Settings):
        raise ConfigurationError(f"settings must be Settings(...), not {shown(settings)}")
    if app is not None:
        raise ConfigurationError("settings=... is for a Hephaestus without app; those of an application are its own")
    found = checked(settings)
    for name in _OF_A_STORE:
        if getattr(found, name) != getattr(Settings(), name):
            raise ConfigurationError(
                f"{PREFIX}{name} has no effect without an application: pass the store itself, storage=RedisStorage(...)"
            )
    return found


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
    threads = True
    if app is not None:
        from hephaestus_celery.runners.celery import is_eager, settings_of, state_backend

        settings = settings_of(app)
        threads = not is_eager(app)
        if threads:
            runner = runner or celery_runner
            if storage is None:
                settings = state_backend(app, settings)
                storage = _redis(settings, clock=clock, chance=chance)
    storage = storage or _memory(clock=clock, chance=chance)
    runner = runner or _local(threads=threads)
    callers = _callers_of(runner)
    driver = Driver(
        storage=storage,
        settings=settings,
        dispatcher=runner,
        hooks=hooks,
        clock=clock,
        chance=chance,
        backs_off=callers is None,
        renews=callers is None or not _is_memory(storage),
    )
    if runner is not celery_runner:
        runner.bind(_giving(driver))
    return Parts(storage=storage, runner=runner, driver=driver, callers=callers, clock=clock, chance=chance)


def _giving(driver: Driver) -> Callable[[], Driver]:
    return lambda: driver


def _local(*, threads: bool) -> Runner:
    from hephaestus_celery.runners.local import LocalRunner

    return LocalRunner(threads=threads)


def _callers_of(runner: Runner) -> LocalRunner | None:
    from hephaestus_celery.runners.local import LocalRunner

    return runner if isinstance(runner, LocalRunner) and not runner.has_threads else None


def _is_memory(storage: Storage) -> bool:
    from hephaestus_celery.storage.memory import MemoryStorage

    return isinstance(storage, MemoryStorage)


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
