"""The memory store: runs in the memory of this process."""

from hephaestus_celery.storage.memory.store import MemoryStorage

__all__ = ["MemoryStorage"]
