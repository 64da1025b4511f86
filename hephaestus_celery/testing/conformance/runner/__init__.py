"""The conformance suite of runners; see :mod:`hephaestus_celery.testing.conformance`.

``make_runner`` is a fixture that gives a callable without arguments, which makes a runner. A runner whose steps are executed in
other processes needs more than that: replace the fixture ``stage``, which is what the tests use; see :class:`Stage`.
"""

from hephaestus_celery.testing.conformance.runner.fixtures import Stage as Stage
from hephaestus_celery.testing.conformance.runner.fixtures import make_runner as make_runner
from hephaestus_celery.testing.conformance.runner.fixtures import stage as stage
from hephaestus_celery.testing.conformance.runner.traces import *
