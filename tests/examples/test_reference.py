"""The page of the public interface has every public name, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hephaestus_celery
from hephaestus_celery import telemetry, testing
from hephaestus_celery.client.aio import AioHephaestus
from hephaestus_celery.client.events import AioEvents
from hephaestus_celery.client.facade import AioWorkflow
from hephaestus_celery.client.handle import AioHandle
from hephaestus_celery.runners import attempt, hooks

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (REFERENCE / "api.md").read_text(encoding="utf-8")
ERRORS = (REFERENCE / "errors.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^### `([^`]+)`(?:, the decorator)?$", PAGE, re.MULTILINE)


def test_every_public_name_has_a_section_of_its_own():
    errors = re.findall(r"^## `(.+)`$", ERRORS, re.MULTILINE)
    assert [name for name in hephaestus_celery.__all__ if (HEADINGS + errors).count(name) != 1] == []


def test_every_public_name_of_testing_has_a_section_of_its_own():
    assert [name for name in testing.__all__ if HEADINGS.count(f"testing.{name}") != 1] == []


def test_every_public_name_of_telemetry_is_on_the_page():
    unnamed = [name for name in telemetry.__all__ if not re.search(rf"telemetry\.{name}\b", PAGE)]
    assert [name for name in unnamed if name != "EventName"] == []  # a tuple of strings


def test_the_page_names_nothing_that_a_user_can_not_import():
    given = {name: getattr(hooks, name) for name in ("AttemptHook", "Hooks", "StartHook")}
    given |= {name: getattr(attempt, name) for name in ("HeldAttempt", "Worker")}  # imported for annotations alone
    given |= {found.__name__: found for found in (AioEvents, AioHandle, AioHephaestus, AioWorkflow)}
    roots = {"telemetry": telemetry, "testing": testing, **given}
    missing = []
    for heading in HEADINGS:
        found = hephaestus_celery
        for part in heading.split("."):
            found = roots.get(part) or getattr(found, part, None)
        if found is None:
            missing.append(heading)
    assert missing == []


@pytest.mark.parametrize("page", [PAGE, ERRORS], ids=["api", "errors"])
def test_no_markup_of_docstrings_is_left_in_a_page(page):
    assert re.findall(r":\w+:`|``(?!`)(?<!```)", re.sub(r"```", "", page)) == []


def test_signatures_name_no_module_of_ours():
    blocks = "".join(re.findall(r"^```python$.*?^```$", PAGE, re.MULTILINE | re.DOTALL))
    assert re.findall(r"hephaestus_celery\.(?:core|client|runners|storage)[\w.]+", blocks) == []


def test_every_coroutine_of_event_loops_is_named_beside_the_call_that_describes_it():
    twins = {"AioHephaestus": AioHephaestus, "AioWorkflow": AioWorkflow, "AioHandle": AioHandle}
    parts = dict(re.findall(r"^### `(Aio\w+)`$(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
    for name, kind in twins.items():
        named = re.findall(r"\[`(\w+)`\]\(#", parts[name]) + re.findall(rf"#### `{name}\.(\w+)`", PAGE)
        assert {call for call in dir(kind) if not call.startswith("_")} - {"id", "run_id"} <= set(named)
