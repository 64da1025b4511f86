"""The Redis store: runs in Redis or Valkey, one Lua script per transition; the only package that imports ``redis``."""

from hephaestus_celery.storage.redis.store import RedisStorage

__all__ = ["RedisStorage"]
