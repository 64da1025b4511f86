"""The conformance suite of runners; see :mod:`hephaestus_celery.testing.conformance`.

``make_runner`` is a fixture: a callable without arguments that makes a runner. The tests use the fixture ``stage``, which
calls it. For a runner that executes steps in other processes, replace ``stage`` too; see :class:`Stage`.
"""

from hephaestus_celery.testing.conformance.runner.fixtures import Stage as Stage
from hephaestus_celery.testing.conformance.runner.fixtures import make_runner as make_runner
from hephaestus_celery.testing.conformance.runner.fixtures import stage as stage
from hephaestus_celery.testing.conformance.runner.results import *
from hephaestus_celery.testing.conformance.runner.traces import *
