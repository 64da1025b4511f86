"""Connections to the state store: its own client, never the broker's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from hephaestus_celery.exceptions import ConfigurationError

SCHEMES = ("redis", "rediss", "unix", "redis+socket", "socket", "sentinel", "valkey", "valkeys")


def is_redis_url(url: str | None) -> bool:
    """Whether a broker or result backend URL names a Redis that can keep the state."""
    return bool(url) and str(url).partition("://")[0] in SCHEMES


def connect(url: str, *, timeout: timedelta, options: Mapping[str, Any]) -> Redis:
    """A client with time limits, a few quick retries (scripts are safe to repeat) and health checks; opens nothing yet.

    Takes the URLs that Celery takes for Redis. Raises ``ConfigurationError`` for any other.
    """
    arguments: dict[str, Any] = {
        "socket_timeout": timeout.total_seconds(),
        "socket_connect_timeout": timeout.total_seconds(),
        "health_check_interval": 25,
        # A lost connection is tried again at once; a server that is silent for the whole time limit is not: redis-py
        # nests the attempts to connect in those of the command, and a caller would wait nine time limits.
        "retry": Retry(ExponentialBackoff(base=0.02, cap=0.2), 2, (LostConnectionError,)),
        "retry_on_error": [LostConnectionError],
        **options,
    }
    scheme = url.partition("://")[0]
    try:
        match scheme:
            case "sentinel":
                return _sentinel(url, arguments)
            case "redis+socket" | "socket":
                return _open(_unix(url), arguments)
            case "valkey" | "valkeys":
                return _open(url.replace("valkey", "redis", 1), arguments)
            case _:
                return _open(url, arguments)
    except (ValueError, TypeError, RedisError) as error:
        raise ConfigurationError(
            f"hephaestus_state_backend can't be used: {error}. It must be a URL with one of {', '.join(SCHEMES)}"
        ) from error


def _open(url: str, arguments: dict[str, Any]) -> Redis:
    return Redis.from_url(url, **arguments)  # pyright: ignore[reportUnknownMemberType] - untyped in redis-py


def _unix(url: str) -> str:
    # Celery writes the database of a socket as ?virtual_host=1, redis-py as ?db=1.
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    database = query.get("virtual_host", query.get("db", ["0"]))[0].strip("/")
    credentials = f"{parts.netloc}" if "@" in parts.netloc else ""
    return f"unix://{credentials}{parts.path}?db={database}"


def _sentinel(url: str, arguments: dict[str, Any]) -> Redis:
    master = arguments.pop("master_name", None)
    if not master:
        raise ConfigurationError("a sentinel:// state backend needs hephaestus_state_options = {'master_name': ...}")
    sentinel_arguments = arguments.pop("sentinel_kwargs", {})
    nodes = [urlsplit(part if "://" in part else f"sentinel://{part}") for part in url.split(";")]
    first = nodes[0]
    if first.password:
        arguments.setdefault("password", unquote(first.password))
    if first.path.strip("/"):
        arguments.setdefault("db", int(first.path.strip("/")))
    hosts = [(node.hostname or "localhost", node.port or 26379) for node in nodes]
    sentinel = Sentinel(
        hosts,
        sentinel_kwargs={
            "socket_timeout": arguments["socket_timeout"],
            "socket_connect_timeout": arguments["socket_connect_timeout"],
            **sentinel_arguments,
        },
        **arguments,
    )
    return sentinel.master_for(master)  # pyright: ignore[reportUnknownMemberType] - untyped in redis-py
