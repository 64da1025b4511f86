"""The suite for storages, on ours: starts and claims."""

from hephaestus_celery.testing.conformance.storage.claims import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.data import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.message_headers import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.names import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.schema import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.starts import *  # noqa: F403 - all tests of this part of the suite
