"""Finds the settings in a Celery application, whatever namespace it uses; ``config.py`` checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from celery import Celery

from hephaestus_celery.config import UNSET, Settings, read_settings, unknown_settings
from hephaestus_celery.core.values.redaction import hidden
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.storage.redis.client import is_redis_url


def settings_of(app: Celery) -> Settings:
    """The application's settings; ``ConfigurationError`` names a bad one."""
    return _settings_in(cast("Any", app).conf)


def _settings_in(held: Mapping[str, Any]) -> Settings:
    def get(name: str) -> Any:
        # Celery's own settings had upper-case names once; an application that reads settings with a namespace has both.
        return held.get(name, held.get(name.upper(), UNSET))

    return read_settings(get)


def real_app(app: Any) -> Celery:
    """The application behind a proxy (such as ``celery.current_app``); the application itself if it is no proxy."""
    while _is_proxy(app):
        try:
            app = app._get_current_object()  # noqa: SLF001 - what proxies of Celery and werkzeug are asked with
        except RuntimeError as error:
            raise ConfigurationError(
                f"Hephaestus was given a proxy that stands for no application yet ({error}); create the application "
                "first, or give it itself"
            ) from error
    if not isinstance(cast("object", app), Celery):
        raise ConfigurationError(
            f"Hephaestus needs the Celery application, as in Hephaestus(app), not a {type(app).__name__}; without one, "
            "Hephaestus() runs workflows in this process"
        )
    return app


def _is_proxy(app: object) -> bool:
    # By its class, since a proxy forwards every attribute.
    return any("_get_current_object" in vars(kind) for kind in type(app).__mro__)


def broker_urls(app: Celery) -> set[str | None]:
    """All URLs of the application's broker, for each connection the first one and its alternates."""
    conf = app.conf
    found: set[str | None] = set()
    for candidate in (conf.broker_url, conf.broker_read_url, conf.broker_write_url):
        if isinstance(candidate, (list, tuple)):
            found.update(str(url) for url in cast("list[object]", candidate))
        else:
            found.add(candidate)
    return found - {None}


def misspelt_settings(app: Celery) -> list[str]:
    """A sentence for each setting of the application that looks like one of ours and is none."""
    conf: Any = app.conf
    prefix = (conf.prefix or "").lower()
    names = {str(name) for name in conf}
    return unknown_settings(name[len(prefix) :] if name.lower().startswith(prefix) else name for name in names)


def check_given(app: Celery) -> None:
    """Check the settings that the application has loaded by now; ``ConfigurationError`` names a bad one.

    The check does not load the application's configuration: a factory, or Django, may not be ready. So missing settings may
    come later.
    """
    unsettled: Any = app  # the stubs lack half of it
    _check_backend(_settings_in(unsettled.conf if unsettled.configured else vars(app)["_preconf"]))


def is_eager(app: Celery) -> bool:
    """Whether the application calls its tasks in place, as in tests."""
    return bool(app.conf.task_always_eager)


def state_backend(app: Celery, settings: Settings) -> Settings:
    """Settings with a state backend: the one that is set, else the result backend or the broker if it is a Redis.

    Raises ``ConfigurationError`` saying what to set when none is.
    """
    if settings.state_backend is not None:
        _check_backend(settings)
        return settings
    # broker_read_url is what workers use; with several brokers the first one counts.
    for candidate in (app.conf.result_backend, app.conf.broker_read_url, app.conf.broker_url):
        for url in _urls(candidate):
            if is_redis_url(url):
                return replace(settings, state_backend=url, state_options=_options(app, settings, url))
    raise ConfigurationError(
        "no place for the state: neither the result backend nor the broker is a Redis or Valkey. Set "
        "hephaestus_state_backend in the Celery configuration, such as 'redis://localhost:6379/1'"
    )


def _check_backend(settings: Settings) -> None:
    if settings.state_backend is not None and not is_redis_url(settings.state_backend):
        raise ConfigurationError(
            f"hephaestus_state_backend must be the URL of a Redis or Valkey, not {hidden(settings.state_backend)!r}"
        )


def _urls(candidate: object) -> list[str]:
    if isinstance(candidate, str):
        return [candidate] if candidate.startswith("sentinel://") else candidate.split(";")[:1]
    if isinstance(candidate, (list, tuple)) and candidate:
        return [str(cast("list[object]", candidate)[0])]
    return []


def _options(app: Celery, settings: Settings, url: str) -> dict[str, Any]:
    # Celery's transport options name a Sentinel's master; the user's settings for this package go first.
    if not url.startswith("sentinel://"):
        return dict(settings.options)
    inherited: dict[str, Any] = {}
    for options in (app.conf.result_backend_transport_options, app.conf.broker_transport_options):
        for name in ("master_name", "sentinel_kwargs"):
            if options and name in options:
                inherited.setdefault(name, options[name])
    return {**inherited, **settings.options}
