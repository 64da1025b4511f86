"""What the server promises to keep: figures of a store mean little without it."""

from __future__ import annotations

from collections.abc import Mapping

from redis import Redis

from hephaestus_celery.embedded import EmbeddedServer

_SETTINGS = ("appendonly", "appendfsync", "maxmemory-policy")


def describe_server() -> Mapping[str, str]:
    """Version and settings of the embedded server that all contests use."""
    with EmbeddedServer() as embedded:
        server = Redis.from_url(f"unix://{embedded.socket_path}?db=0")
        about = server.info("server")
        settings = server.config_get(*_SETTINGS)
        server.close()
    name = "Valkey" if "valkey_version" in about else "Redis"
    version = about.get("valkey_version", about["redis_version"])
    return {
        name: str(version),
        **{setting: str(settings[setting]) for setting in _SETTINGS},
        "over": "TCP on this machine",
    }
