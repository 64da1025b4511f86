"""The settings: Celery settings whose names begin with ``hephaestus_``, read and checked once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, cast

from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.redaction import hidden, hidden_options
from hephaestus_celery.core.values.retry import DEFAULT_RETRY, RetryPolicy, seconds
from hephaestus_celery.core.values.spelling import misspelt, nearest
from hephaestus_celery.exceptions import ConfigurationError

PREFIX = "hephaestus_"
_MOST = 10**12
_NAMESPACE = re.compile(r"[\w.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """The settings. Pass durations as seconds or timedeltas; here they are timedeltas."""

    state_backend: str | None = field(
        default=None,
        metadata={
            "effect": "URL of the Redis or Valkey that keeps the state: `redis://`, `rediss://`, `redis+socket://` or `sentinel://`. "
            "By default the result backend if that is one, else the broker if that is one."
        },
    )
    state_options: Mapping[str, Any] | None = field(
        default=None,
        metadata={
            "effect": "Further keyword arguments for the client of the state store; with `sentinel://` it needs `master_name`. "
            "`max_connections` (50) is how many calls a process makes at a time, each on a connection; further ones wait."
        },
    )
    state_timeout: timedelta = field(
        default=timedelta(seconds=2),
        metadata={"effect": "How long one connect or one command may take before the store counts as out of reach."},
    )
    namespace: str = field(
        default="hephaestus",
        metadata={"effect": "Begins every key; give each of several applications on one Redis its own."},
    )
    partitions: int = field(
        default=1,
        metadata={
            "effect": "Number of hash tags that keys are spread over; leave it at 1 on a single server, and as it is while runs are stored."
        },
    )
    default_queue: str | None = field(
        default=None,
        metadata={"effect": "Queue for steps that name none; by default the application's routing decides."},
    )
    lease: timedelta = field(
        default=timedelta(seconds=30),
        metadata={
            "effect": "How long a worker holds an attempt without renewing its lease; it renews it three times per lease, also while it shuts down."
        },
    )
    dispatch_timeout: timedelta = field(
        default=timedelta(seconds=30),
        metadata={
            "effect": "How long a step's message may stay unclaimed before it is looked for. It counts as lost, and is sent again, only when its queue has come past it or is empty, and no worker holds it."
        },
    )
    transactional_dispatch: bool = field(
        default=True,
        metadata={
            "effect": "Where broker and state store are one Redis, the store sends a step's message in the script that makes it due. "
            "False sends all messages afterwards, as with any other broker."
        },
    )
    retention: timedelta | None = field(
        default=timedelta(days=7), metadata={"effect": "How long a run is kept after its end; None keeps it for ever."}
    )
    max_payload: int = field(
        default=1024 * 1024,
        metadata={"effect": "Bytes that one value (a context, a result, metadata) may have as JSON."},
    )
    event_stream: int = field(
        default=0,
        metadata={
            "effect": "About how many commits the durable event stream of each partition keeps, for `hephaestus.events(...)`; "
            "0 switches it off. Give it to all processes."
        },
    )
    default_retry: RetryPolicy = field(
        default=DEFAULT_RETRY,
        metadata={
            "effect": "Policy of steps and workflows that have none: a `RetryPolicy`, or a mapping of its arguments."
        },
    )

    def __repr__(self) -> str:
        """All of it but users, passwords and the like: settings are printed and logged."""
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        shown["state_backend"] = self.state_backend and hidden(self.state_backend)
        shown["state_options"] = self.state_options and hidden_options(self.state_options)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def options(self) -> Mapping[str, Any]:
        """``state_options``, empty when not set."""
        return self.state_options or {}


def read_settings(get: Callable[[str], Any]) -> Settings:
    """Settings from ``get(name)``, which gives ``UNSET`` for what is not there; ``ConfigurationError`` names a bad one."""
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        given = get(PREFIX + setting.name)
        if given is not UNSET:
            values[setting.name] = _CHECKS[setting.name](PREFIX + setting.name, given)
    return Settings(**values)


def checked(settings: Settings) -> Settings:
    """These settings, each checked as those of an application are; ``ConfigurationError`` names a bad one."""
    return read_settings(lambda name: getattr(settings, name.removeprefix(PREFIX)))


def unknown_settings(names: Iterable[str]) -> list[str]:
    """A sentence for each setting among ``names`` that is meant for this package and that nobody reads."""
    known = [setting.name for setting in fields(Settings)]
    problems: list[str] = []
    for given in sorted(names):
        name = given.lower()
        prefix, separator, rest = name.partition("_")
        right = prefix + separator == PREFIX
        if (right and rest in known) or (not right and misspelt(prefix, [PREFIX[:-1]]) is None):
            continue
        meant = nearest(rest, known)
        hint = (
            f"did you mean {PREFIX}{meant}?" if meant else f"settings are {', '.join(PREFIX + name for name in known)}"
        )
        problems.append(f"{given} is no setting of hephaestus-celery; {hint}")
    return problems


UNSET: Any = object()
"""What ``get`` gives :func:`read_settings` for a setting that is not there."""


def _refuse(name: str, wanted: str, value: object) -> ConfigurationError:
    return ConfigurationError(f"{name} must be {wanted}, not {hidden(shown(value))}")


def _duration(name: str, value: object) -> timedelta:
    try:
        length = seconds(value, name=name)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if isinstance(value, (int, float)) and value > timedelta.max.total_seconds():
        raise _refuse(name, f"at most {timedelta.max.days} days", value)
    duration = timedelta(seconds=length)
    if duration <= timedelta(0):
        raise _refuse(name, "more than nothing", value)
    return duration


def _optional_duration(name: str, value: object) -> timedelta | None:
    return None if value is None else _duration(name, value)


def _positive(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _refuse(name, "a positive int", value)
    return value


def _natural(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
        raise _refuse(name, f"an int from 0 to {_MOST - 1:,}", value)
    return value


def _text(name: str, value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise _refuse(name, "a non-empty string or None", value)
    return value


def _namespace(name: str, value: object) -> str:
    if not isinstance(value, str) or not _NAMESPACE.fullmatch(value):
        raise _refuse(name, "1 to 64 letters, digits, dots, hyphens or underscores", value)
    return value


def _mapping(name: str, value: object) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, Mapping):
        raise _refuse(name, "a mapping", value)
    return cast("Mapping[str, Any] | None", value)


def _retry(name: str, value: object) -> RetryPolicy:
    if isinstance(value, RetryPolicy):
        return value
    if isinstance(value, Mapping):
        try:
            return RetryPolicy(**cast("Mapping[str, Any]", value))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{name}: {error}") from None
    raise _refuse(name, "a RetryPolicy or a mapping of its arguments", value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refuse(name, "True or False", value)
    return value


_CHECKS: Mapping[str, Callable[[str, object], Any]] = {
    "state_backend": _text,
    "state_options": _mapping,
    "state_timeout": _duration,
    "namespace": _namespace,
    "partitions": _positive,
    "default_queue": _text,
    "lease": _duration,
    "dispatch_timeout": _duration,
    "transactional_dispatch": _flag,
    "retention": _optional_duration,
    "max_payload": _positive,
    "event_stream": _natural,
    "default_retry": _retry,
}
