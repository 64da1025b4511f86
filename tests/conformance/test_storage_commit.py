"""The suite for storages, on ours: what commits do."""

from hephaestus_celery.testing.conformance.storage.changed_definitions import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.completion import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.counted_joins import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.endings import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.histories_of_rounds import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.repeating import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.replays import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.rounds import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.run_results import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.taken_failures import *  # noqa: F403 - all tests of this part of the suite
from hephaestus_celery.testing.conformance.storage.wide_steps import *  # noqa: F403 - all tests of this part of the suite
