"""The steps that come with the package: Done, Wait, WaitForEvent, Debug."""

from __future__ import annotations

import logging  # only for Debug, whose work it is to log
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hephaestus_celery.core.definition.step import Async, Ok, Result, Step, StepConfig
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.declared import R_co
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.names import DONE, is_name, is_reserved
from hephaestus_celery.core.values.retry import seconds

UNITS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
_MICROSECOND = "microsecond"  # how a timedelta is stored: a unit that a definition can't name


class Done(Step):
    """The only end of a workflow. The engine completes it in the commit that reaches it, without a message."""

    key = DONE
    events = ("done",)

    def execute(self, instance: Instance, config: StepConfig, context: Context[Any]) -> Result:
        """Never called by a runner; here so that ``Done`` is a step like any other."""
        return Ok("done")


class Wait(Step):
    """Waits for a fixed time, then completes with ``"timeout"``.

    Config: ``{"duration": seconds or timedelta}``, or ``{"duration": int, "unit": "second" | "minute" | "hour" | "day"}``.
    """

    events = ("timeout",)

    def execute(self, instance: Instance, config: StepConfig, context: Context[Any]) -> Result:
        return Async(timeout=wait_duration(config))

    @classmethod
    def plain_config(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(config.get("duration"), timedelta):
            return config
        return {"duration": config["duration"] // timedelta(microseconds=1), "unit": _MICROSECOND}

    @classmethod
    def restored_config(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        if config.get("unit") != _MICROSECOND:
            return config
        return {"duration": timedelta(microseconds=config["duration"])}

    @classmethod
    def check_config(cls, config: StepConfig) -> list[str]:
        try:
            wait_duration(config)
        except ValueError as error:
            return [str(error)]
        return []


class WaitForEvent(Step[R_co]):
    """Waits for ``resume(id, event_name, data)`` and completes with ``"received"``; ``data`` is its result.

    Config: ``{"event_name": str, "timeout": seconds or timedelta}``; the timeout is optional, completes the step with
    ``"timeout"`` and needs a transition then. ``"timeout_ms": int`` may stand in its place. ``WaitForEvent[Payment]`` says what
    type ``data`` has.
    """

    events = ("received", "timeout")

    def execute(self, instance: Instance, config: StepConfig, context: Context[Any]) -> Result:
        return Async(timeout=_event_timeout(config or {}))

    @classmethod
    def plain_config(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(config.get("timeout"), timedelta):
            return config
        return {**config, "timeout": config["timeout"] // timedelta(microseconds=1), "unit": _MICROSECOND}

    @classmethod
    def restored_config(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        if config.get("unit") != _MICROSECOND:
            return config
        return {"event_name": config["event_name"], "timeout": timedelta(microseconds=config["timeout"])}

    @classmethod
    def check_config(cls, config: StepConfig) -> list[str]:
        config = config or {}
        problems: list[str] = []
        name = config.get("event_name")
        if is_reserved(name):
            problems.append(f"the event_name {shown(name)} is not for users: names that begin with @ are the engine's")
        elif not is_name(name):
            problems.append(
                "config needs an event_name (a string of 1 to 100 characters without white space or |), "
                f"not {shown(name)}"
            )
        try:
            _event_timeout(config)
        except ValueError as error:
            problems.append(str(error))
        problems.extend(_unknown(config, {"event_name", "timeout", "timeout_ms"}))
        return problems

    @classmethod
    def events_for(cls, config: StepConfig) -> tuple[str, ...]:
        has_timeout = any((config or {}).get(name) is not None for name in ("timeout", "timeout_ms"))
        return ("received", "timeout") if has_timeout else ("received",)

    @classmethod
    def resume_events(cls, config: StepConfig) -> dict[str, str]:
        return {str(config["event_name"]): "received"} if config else {}


class Debug(Step):
    """Logs the initial context, the results of the steps so far and the history at DEBUG."""

    events = ("completed",)

    def execute(self, instance: Instance, config: StepConfig, context: Context[Any]) -> Result:
        logger = logging.getLogger("hephaestus_celery.debug")
        logger.debug("[%s] initial context: %r", instance.id, dict(context.initial))
        for key, result in context.steps.items():
            logger.debug("[%s] result of %s: %r", instance.id, key, dict(result))
        for key, state in instance.step_states.items():
            logger.debug("[%s] history: %s %s (attempt %d, event %s)", instance.id, key, *state.outline())
        return Ok("completed")


def wait_duration(config: StepConfig) -> timedelta:
    """How long a :class:`Wait` with this config waits; ``ValueError`` says what is wrong with it."""
    if not config or "duration" not in config:
        raise ValueError("config needs a duration (seconds or a timedelta, or an int with a unit)")
    problems = _unknown(config, {"duration", "unit"})
    if problems:
        raise ValueError(problems[0])
    duration, unit = config["duration"], config.get("unit")
    if isinstance(duration, timedelta):
        if unit is not None:
            raise ValueError(f"a duration that is a timedelta takes no unit ({shown(unit)})")
        result = duration
    elif unit is None and "unit" not in config:
        result = _from_seconds(duration, "duration")
    else:
        result = _from_units(duration, unit)
    return _not_negative(result, "duration", duration)


def _event_timeout(config: Mapping[str, Any]) -> timedelta | None:
    """How long a :class:`WaitForEvent` with this config waits at most; ``ValueError`` says what is wrong with it."""
    timeout, milliseconds = config.get("timeout"), config.get("timeout_ms")
    if timeout is not None and milliseconds is not None:
        raise ValueError(
            f"timeout ({shown(timeout)}) and timeout_ms ({shown(milliseconds)}) say the same; give one of them"
        )
    if timeout is not None:
        length = timeout if isinstance(timeout, timedelta) else _from_seconds(timeout, "timeout")
        return _not_negative(length, "timeout", timeout)
    if milliseconds is None:
        return None
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int) or milliseconds < 0:
        raise ValueError(
            f"timeout_ms must be a number of milliseconds (an int, not negative), not {shown(milliseconds)}"
        )
    if milliseconds > timedelta.max // timedelta(milliseconds=1):
        raise ValueError(f"timeout_ms is too long: {shown(milliseconds)}")
    return timedelta(milliseconds=milliseconds)


def _not_negative(length: timedelta, name: str, given: object) -> timedelta:
    if length < timedelta(0):
        raise ValueError(f"{name} must not be negative: {shown(given)}")
    return length


def _from_seconds(length: object, name: str) -> timedelta:
    return timedelta(seconds=seconds(length, name=name))


def _from_units(duration: object, unit: object) -> timedelta:
    if isinstance(duration, bool) or not isinstance(duration, int):
        raise ValueError(f"duration must be an int where it has a unit, not {shown(duration)}")
    if not isinstance(unit, str) or unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {shown(unit)}")
    try:
        return duration * UNITS[unit]
    except OverflowError:
        raise ValueError(f"duration is too long: {shown(duration)} {unit}s") from None


def _unknown(config: Mapping[str, Any], known: set[str]) -> list[str]:
    return [
        f"config has the unknown key {shown(key)} (known: {', '.join(sorted(known))})"
        for key in config
        if key not in known
    ]
