"""The suite for storages, on ours: runs that a retry or a fork makes of others."""

from hephaestus_celery.testing.conformance.storage.events_of_reruns import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.reruns import *  # noqa: F403 - all tests of this part of the suite
