"""The conformance suites: tests that every storage and every runner passes, ours and those of others.

They need pytest.

Import the tests of a suite into a test module of your own, and give the fixture that makes what is to be tested:

- ``from hephaestus_celery.testing.conformance.storage import *`` with a fixture ``make_storage``;
- ``from hephaestus_celery.testing.conformance.runner import *`` with a fixture ``make_runner``.
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}.runner", f"{__name__}.storage", f"{__name__}.driven")
