"""The suite for storages, on ours: timers."""

from hephaestus_celery.testing.conformance.storage.deadlines import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.retries import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.timers import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.timers_beside_steps import *  # noqa: F403 - all tests of this part of the suite
