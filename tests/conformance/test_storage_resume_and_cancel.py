"""The suite for storages, on ours: events from outside, and listings."""

from hephaestus_celery.testing.conformance.storage.deletion import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.discarded_events import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.early_events import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.event_keys import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.events_from_outside import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.filters import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.histories import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.listing import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.resolving import *  # noqa: F403 - all tests of this part of the suite
