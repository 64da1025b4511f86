"""The suite for storages, on ours: what the event stream is told, and what its readers are given."""

from hephaestus_celery.testing.conformance.storage.event_stream import *  # noqa: F403 - all tests of this part of the suite
