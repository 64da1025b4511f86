"""The Redis client of the state store: its own, never the broker's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as LoopRetry
from redis.asyncio.sentinel import MasterNotFoundError as LoopMasterNotFoundError
from redis.asyncio.sentinel import Sentinel as LoopSentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from hephaestus_celery.core.values.redaction import hidden
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.storage.redis.errors import NoPrimaryError

# Seconds between checks; 0 is never. redis-py 5 recurses without end if a server refuses the check during a connect.
_HEALTH_CHECK = 25 if int(redis.__version__.partition(".")[0]) > 5 else 0  # noqa: PLR2004 - said above

SCHEMES = ("redis", "rediss", "unix", "redis+socket", "socket", "sentinel", "valkey", "valkeys")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """The classes of redis-py that block, or those for event loops; most of them are untyped."""

    client: Any
    retry: Any
    sentinels: Any


def is_redis_url(url: str | None) -> bool:
    """Whether a broker or result backend URL names a Redis that can keep the state."""
    return bool(url) and str(url).partition("://")[0] in SCHEMES


def connect(url: str, *, timeout: timedelta, options: Mapping[str, Any]) -> Redis:
    """A client with time limits, a few quick retries (scripts are safe to repeat) and health checks; opens nothing yet.

    Takes the URLs that Celery takes for Redis. Raises ``ConfigurationError`` for any other.
    """
    return _connect(url, timeout, options, _BLOCKING)


def connect_loop(url: str, *, timeout: timedelta, options: Mapping[str, Any]) -> AsyncRedis:
    """As :func:`connect`, for one event loop."""
    return _connect(url, timeout, options, _LOOP)


def _connect(url: str, timeout: timedelta, options: Mapping[str, Any], kind: _Kind) -> Any:
    arguments: dict[str, Any] = {**_time_limits(timeout, kind), "health_check_interval": _HEALTH_CHECK, **options}
    _check_user(url)
    try:
        client = _client(url, arguments, kind)
        _try_arguments(client)
    except (ValueError, TypeError, RedisError) as error:
        raise ConfigurationError(
            f"hephaestus_state_backend or hephaestus_state_options can't be used: {hidden(error)}. The backend must be a "
            f"URL with one of {', '.join(SCHEMES)}; the options are what redis-py takes"
        ) from error
    return client


def _check_user(url: str) -> None:
    # A parser cuts a password at an unescaped special character. The rest would be used as an address, or be printed in the
    # error about a bad address.
    scheme, _, rest = url.partition("://")
    if scheme.startswith(("unix", "socket", "redis+socket")):
        return
    for part in rest.split(";"):
        user, at, _ = part.rpartition("@")
        if at and re.search(r"[/?#@]", user):
            raise ConfigurationError(
                f"hephaestus_state_backend {hidden(url)!r} can't be parsed: in a user or a password write / as %2F, "
                "# as %23, ? as %3F, @ as %40, : as %3A and % as %25 (urllib.parse.quote(password, safe='') does)"
            )


def _client(url: str, arguments: dict[str, Any], kind: _Kind) -> Any:
    match url.partition("://")[0]:
        case "sentinel":
            return _sentinel(url, arguments, kind)
        case "redis+socket" | "socket":
            return _open(_unix(url), arguments, kind)
        case "unix":
            return _open(url, arguments, kind)
        case _:
            database = urlsplit(url).path.strip("/")
            if database and not database.isdecimal():  # redis-py would take database 0
                raise ValueError(f"{database!r} is not the number of a database")
            return _open(url.replace("valkey", "redis", 1) if url.startswith("valkey") else url, arguments, kind)


def _try_arguments(client: Any) -> None:
    # redis-py checks the options only when it makes a connection. So make one here, without opening it.
    pool: Any = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)


def _time_limits(timeout: timedelta, kind: _Kind) -> dict[str, Any]:
    return {
        "socket_timeout": timeout.total_seconds(),
        "socket_connect_timeout": timeout.total_seconds(),
        # Retry a lost connection at once, but not a server that is silent for the whole time limit. redis-py nests the
        # retries of the connection in the retries of the command, so a caller would wait nine time limits.
        "retry": kind.retry(ExponentialBackoff(base=0.02, cap=0.2), 2, (LostConnectionError,)),
        "retry_on_error": [LostConnectionError],
    }


def _open(url: str, arguments: dict[str, Any], kind: _Kind) -> Any:
    # Celery also accepts the names of the ssl module, redis-py only its own names.
    url = re.sub(r"(?<=[?&]ssl_cert_reqs=)CERT_(\w+)", lambda name: name[1].lower(), url)
    return kind.client.from_url(url, **arguments)


def _unix(url: str) -> str:
    # Celery writes the database of a socket as ?virtual_host=1, redis-py as ?db=1.
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    database = query.get("virtual_host", query.get("db", ["0"]))[0].strip("/")
    credentials = f"{parts.netloc}" if "@" in parts.netloc else ""
    return f"unix://{credentials}{parts.path}?db={database}"


def _sentinel(url: str, arguments: dict[str, Any], kind: _Kind) -> Any:
    master = arguments.pop("master_name", None)
    if not master:
        raise ConfigurationError("a sentinel:// state backend needs hephaestus_state_options = {'master_name': ...}")
    sentinel_arguments: dict[str, Any] = arguments.pop("sentinel_kwargs", None) or {}
    nodes = [urlsplit(part if "://" in part else f"sentinel://{part}") for part in url.split(";")]
    first = nodes[0]
    if first.username:
        arguments.setdefault("username", unquote(first.username))
    if first.password:
        arguments.setdefault("password", unquote(first.password))
    if first.path.strip("/"):
        arguments.setdefault("db", int(first.path.strip("/")))
    hosts = [(node.hostname or "localhost", node.port or 26379) for node in nodes]
    # A silent Sentinel must not use up the time of the others: together they get the time of one call.
    share = timedelta(seconds=arguments["socket_timeout"]) / len(hosts)
    watch = kind.sentinels(hosts, sentinel_kwargs={**_time_limits(share, kind), **sentinel_arguments}, **arguments)
    return watch.master_for(master)


class _Sentinels(Sentinel):
    """Sentinels that raise at once if there is no primary.

    redis-py would treat that as a lost connection and ask all Sentinels nine times. A failover takes longer than that, and
    with silent Sentinels a caller would wait for most of a minute.
    """

    def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            return cast("tuple[str, int]", super().discover_master(service_name))  # pyright: ignore[reportUnknownMemberType] - untyped in redis-py
        except MasterNotFoundError as error:
            raise NoPrimaryError(f"no Sentinel names a primary {service_name!r} that is up") from error


class _LoopSentinels(LoopSentinel):
    """The same, for event loops."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            return cast("tuple[str, int]", await super().discover_master(service_name))  # pyright: ignore[reportUnknownMemberType] - untyped in redis-py
        except LoopMasterNotFoundError as error:
            raise NoPrimaryError(f"no Sentinel names a primary {service_name!r} that is up") from error


_BLOCKING = _Kind(client=Redis, retry=Retry, sentinels=_Sentinels)
_LOOP = _Kind(client=AsyncRedis, retry=LoopRetry, sentinels=_LoopSentinels)
