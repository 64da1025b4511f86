"""The conformance suite of storages; see :mod:`hephaestus_celery.testing.conformance`.

``make_storage`` is a fixture: a callable without arguments that makes an empty storage. The fixture closes what was made.
Some tests look past the port and need a fixture ``probe`` too; without one they are skipped. See
:class:`~hephaestus_celery.testing.conformance.driven.Probe`.
"""

from hephaestus_celery.testing.conformance.storage.changed_definitions import *
from hephaestus_celery.testing.conformance.storage.claims import *
from hephaestus_celery.testing.conformance.storage.completion import *
from hephaestus_celery.testing.conformance.storage.counted_joins import *
from hephaestus_celery.testing.conformance.storage.data import *
from hephaestus_celery.testing.conformance.storage.deadlines import *
from hephaestus_celery.testing.conformance.storage.deletion import *
from hephaestus_celery.testing.conformance.storage.discarded_events import *
from hephaestus_celery.testing.conformance.storage.early_events import *
from hephaestus_celery.testing.conformance.storage.endings import *
from hephaestus_celery.testing.conformance.storage.event_keys import *
from hephaestus_celery.testing.conformance.storage.event_stream import *
from hephaestus_celery.testing.conformance.storage.events_from_outside import *
from hephaestus_celery.testing.conformance.storage.events_of_reruns import *
from hephaestus_celery.testing.conformance.storage.filters import *
from hephaestus_celery.testing.conformance.storage.fixtures import *
from hephaestus_celery.testing.conformance.storage.histories import *
from hephaestus_celery.testing.conformance.storage.histories_of_rounds import *
from hephaestus_celery.testing.conformance.storage.lanes import *
from hephaestus_celery.testing.conformance.storage.late_steps import *
from hephaestus_celery.testing.conformance.storage.leases import *
from hephaestus_celery.testing.conformance.storage.listing import *
from hephaestus_celery.testing.conformance.storage.lost_attempts import *
from hephaestus_celery.testing.conformance.storage.lost_messages import *
from hephaestus_celery.testing.conformance.storage.message_headers import *
from hephaestus_celery.testing.conformance.storage.names import *
from hephaestus_celery.testing.conformance.storage.pauses import *
from hephaestus_celery.testing.conformance.storage.pauses_of_reruns import *
from hephaestus_celery.testing.conformance.storage.pauses_of_workflows import *
from hephaestus_celery.testing.conformance.storage.repeating import *
from hephaestus_celery.testing.conformance.storage.replays import *
from hephaestus_celery.testing.conformance.storage.reruns import *
from hephaestus_celery.testing.conformance.storage.resolving import *
from hephaestus_celery.testing.conformance.storage.retries import *
from hephaestus_celery.testing.conformance.storage.rounds import *
from hephaestus_celery.testing.conformance.storage.run_results import *
from hephaestus_celery.testing.conformance.storage.schema import *
from hephaestus_celery.testing.conformance.storage.seizing import *
from hephaestus_celery.testing.conformance.storage.standing import *
from hephaestus_celery.testing.conformance.storage.starts import *
from hephaestus_celery.testing.conformance.storage.taken_failures import *
from hephaestus_celery.testing.conformance.storage.timers import *
from hephaestus_celery.testing.conformance.storage.timers_beside_steps import *
from hephaestus_celery.testing.conformance.storage.undoing import *
from hephaestus_celery.testing.conformance.storage.undoing_of_reruns import *
from hephaestus_celery.testing.conformance.storage.wide_steps import *
