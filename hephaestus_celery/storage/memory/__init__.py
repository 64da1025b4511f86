"""Instances in the memory of this process; the transitions are the pure ones of :mod:`hephaestus_celery.core.execution.transitions`."""

from hephaestus_celery.storage.memory.store import MemoryStorage

__all__ = ["MemoryStorage"]
