"""Our storages are held to all of the suite, and no test of it hides another."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

from hephaestus_celery.storage.redis.constants import CONSTANTS
from hephaestus_celery.testing.conformance import storage as suite
from hephaestus_celery.testing.conformance.storage.data import SHAPES

HERE = Path(__file__).parent
PARTS = sorted(path.stem for path in Path(suite.__file__).parent.glob("*.py") if path.stem != "__init__")


def names(part):
    module = importlib.import_module(f"{suite.__name__}.{part}")
    fixtures = {name for name, value in vars(module).items() if type(value).__name__ == "FixtureFunctionDefinition"}
    return [name for name in vars(module) if name.startswith("test_") or name in fixtures]


def test_every_part_is_bound_to_our_storages():
    bound = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_storage_*.py"))
    assert [part for part in PARTS if part != "fixtures" and f"storage.{part} import *" not in bound] == []


def test_every_part_is_in_the_suite_as_a_whole():
    # Also where another part has a constant or a function of that name, which would stand in the place of a fixture.
    missing = [
        f"{part}.{name}"
        for part in PARTS
        for name in names(part)
        if getattr(suite, name, None) is not getattr(importlib.import_module(f"{suite.__name__}.{part}"), name)
    ]
    assert missing == []


def test_no_two_parts_have_a_test_or_a_fixture_of_the_same_name():
    counted = Counter(name for part in PARTS for name in names(part))
    assert [name for name, count in counted.items() if count > 1] == []


def test_many_steps_and_much_data_are_more_than_redis_handles_as_a_whole():
    fields = {name: 4 * branches for name, (branches, _) in SHAPES.items()}  # state, config, result, metadata
    assert [name for name in fields if fields[name] > CONSTANTS["FEW"]] == ["many steps", "many steps, much data"]
    data = {name: branches * size for name, (branches, size) in SHAPES.items()}
    assert [name for name in data if data[name] > CONSTANTS["SMALL"]] == ["much data", "many steps, much data"]
