"""The entries of the due set are the same text for the scripts and for Python, and mean the same to both."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

from hephaestus_celery.core.execution.due_items import (
    Deadline,
    DueItem,
    Prune,
    SettleDue,
    StepDue,
    Sweep,
    TimerDue,
    encode_member,
    parse_member,
)
from tests.support.due_texts import RUN, due_items, odd_texts
from tests.support.script_parts import parts_of

several = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
READ = """
local run_id, item = read_due(ARGV[3])
if item and item.tags and #item.tags == 0 then item.tags = nil end
return { run_id or '', item and cjson.encode(item) or '' }
"""
WRITE = """
local item = p.item
local written = { step = step_due, timer = timer_due, prune = prune_due, sweep = sweep_due, settle = settle_due, deadline = deadline_due }
return written[p.kind](unpack(item))
"""


@pytest.fixture
def evaluate(client):
    """``evaluate(lines, parameters, *texts)``: what these lines give in a script that has the part on due entries."""

    def run(lines, parameters, *texts):
        return client.eval(parts_of("tick") + lines, 5, *"abcde", "prefix:", json.dumps(parameters), *texts)

    return run


def as_lua_has_it(item: DueItem):
    """An item as ``read_due`` gives it."""
    match item:
        case StepDue(activation):
            return {"kind": "step", "step": str(activation)}
        case TimerDue(activation, reference):
            return {"kind": "timer", "step": str(activation), "reference": reference}
        case Prune(None):
            return {"kind": "prune"}
        case Prune(run):
            tags = {"tags": list(run.tags)} if run.tags else {}
            return {"kind": "prune", "id": run.instance_id, "family": run.family, **tags}
        case Sweep() | Deadline():
            return {"kind": type(item).__name__.lower()}
        case SettleDue(source, staged):
            return {"kind": "settle", "source": source, "id": staged}


def arguments(item: DueItem):
    """What the function that writes such an item is given."""
    found = as_lua_has_it(item)
    names = {"step": ["step"], "timer": ["step", "reference"], "sweep": [], "deadline": [], "settle": ["source", "id"]}
    given = [found[name] for name in names.get(found["kind"], ["id", "family"])]
    return found["kind"], [*given, found.get("tags", {})] if found["kind"] == "prune" else given


@several
@given(item=due_items.filter(lambda item: item != Prune(None)))
def test_a_script_writes_an_entry_as_python_does(evaluate, item):
    kind, given = arguments(item)
    written = evaluate(WRITE, {"run_id": RUN, "kind": kind, "item": given})
    assert written.decode() == encode_member(RUN, item)


@several
@given(item=due_items)
def test_a_script_reads_what_python_writes(evaluate, item):
    run_id, found = evaluate(READ, {}, encode_member(RUN, item))
    assert (run_id.decode(), json.loads(found)) == (RUN, as_lua_has_it(item))


@several
@given(text=odd_texts)
def test_a_script_takes_no_text_for_another_entry_than_python_does(evaluate, text):
    for member in (text, f"{RUN}|{text}"):
        run_id, found = evaluate(READ, {}, member)
        try:
            expected = parse_member(member)
        except ValueError:
            assert found == b""
        else:
            assert (run_id.decode(), json.loads(found)) == (expected[0], as_lua_has_it(expected[1]))
