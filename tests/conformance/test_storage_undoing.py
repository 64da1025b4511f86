"""The suite for storages, on ours: how runs undo what has completed."""

from hephaestus_celery.testing.conformance.storage.late_steps import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.undoing import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.undoing_of_reruns import *  # noqa: F403 - all tests of this part of the suite
