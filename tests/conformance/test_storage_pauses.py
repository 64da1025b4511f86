"""The suite for storages, on ours: pauses."""

from hephaestus_celery.testing.conformance.storage.pauses import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.pauses_of_reruns import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.pauses_of_workflows import *  # noqa: F403 - all tests of this part of the suite
