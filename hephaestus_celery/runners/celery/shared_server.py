"""Whether broker and state store are one Redis database, so that a script may send prepared messages."""

from __future__ import annotations

from urllib.parse import urlsplit

from celery import Celery

from hephaestus_celery.runners.celery.settings import broker_urls

_HARMLESS_OPTIONS = frozenset(
    {
        *("visibility_timeout", "unacked_restore_interval", "unacked_restore_limit", "unacked_mutex_expire"),
        *("health_check_interval", "max_connections", "retry_on_timeout", "client_name", "polling_interval"),
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options"),
        *(
            "ack_emulation",
            "unacked_key",
            "unacked_index_key",
            "unacked_mutex_key",
            "priority_steps",
            "sep",
            "queue_order_strategy",
            "fanout_prefix",
            "fanout_patterns",
            "max_retries",
        ),
        *("interval_start", "interval_step", "interval_max"),
    }
)
"""Transport options that change neither the list of a queue nor its messages, or that kombu has applied before."""


def is_broker(app: Celery, store: str | None) -> bool:
    """Whether broker and store are the same database of the same server, by their URLs."""
    urls = broker_urls(app)
    place = None if store is None else _place(store)
    return place is not None and all(isinstance(url, str) and _place(url) == place for url in urls)


def has_uniform_messages(app: Celery) -> bool:
    """Whether, by the settings, the messages of a task differ only in their values."""
    conf = app.conf
    if conf.task_send_sent_event or conf.task_inherit_parent_priority:
        return False
    return _HARMLESS_OPTIONS.issuperset(conf.broker_transport_options)


def _place(url: str) -> tuple[str, ...] | None:
    """The parts of a URL that name the database and the user; None where it names none."""
    if ";" in url:
        return None
    parts = urlsplit(url)
    match parts.scheme:
        case "redis" | "rediss" | "valkey" | "valkeys":
            if parts.query:
                return None
            return (
                parts.username or "",
                parts.hostname or "localhost",
                str(parts.port or 6379),
                parts.path.strip("/") or "0",
            )
        case "redis+socket" | "socket" | "unix":
            return (parts.netloc, parts.path, parts.query)
        case _:
            return None
