"""The suite for storages, on ours: what steps wait for."""

from hephaestus_celery.testing.conformance.storage.standing import *  # noqa: F403 - all tests of this part of the suite
