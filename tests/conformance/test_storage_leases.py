"""The suite for storages, on ours: leases and lost messages."""

from hephaestus_celery.testing.conformance.storage.lanes import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.leases import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.lost_attempts import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.lost_messages import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.seizing import *  # noqa: F403 - all tests of this part of the suite
