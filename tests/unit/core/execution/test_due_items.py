"""Entries of the due set: what is written is read back, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given

from hephaestus_celery.core.execution.due_items import (
    Deadline,
    Prune,
    PrunedRun,
    SettleDue,
    StepDue,
    Sweep,
    TimerDue,
    encode,
    encode_member,
    parse,
    parse_member,
)
from hephaestus_celery.core.values.activation import Activation
from tests.support.due_texts import RUN, due_items, odd_texts

WRITTEN = {
    "charge": StepDue(Activation("charge")),
    "charge #3 ~2": StepDue(Activation("charge", 3, 2)),
    "charge|7d1f": TimerDue(Activation("charge"), "7d1f"),
    "charge ~2|7d1f": TimerDue(Activation("charge", generation=2), "7d1f"),
    '|["order::a/1","shop.Order","fast","blue"]': Prune(PrunedRun("order::a/1", "shop.Order", ("fast", "blue"))),
    "": Prune(None),
    "\1sweep": Sweep(),
    "\1deadline": Deadline(),
    "\1settle|fan|2a": SettleDue("fan", "2a"),
    "\1settle||2a": SettleDue("", "2a"),
}


@pytest.mark.parametrize(("text", "item"), WRITTEN.items())
def test_an_item_is_written_as_every_version_reads_it(text, item):
    assert encode(item) == text.replace("/", "\\/")
    assert parse(text) == item


@given(due_items)
def test_an_item_is_read_back_as_it_was(item):
    assert parse(encode(item)) == item
    assert parse_member(encode_member(RUN, item)) == (RUN, item)


@given(odd_texts)
def test_what_is_read_from_any_text_is_written_as_that_text_or_means_the_same(text):
    try:
        item = parse(text)
    except ValueError:
        return
    assert (
        encode(item) == text
        if isinstance(item, (StepDue, TimerDue, SettleDue, Sweep, Deadline))
        else parse(encode(item)) == item
    )


@pytest.mark.parametrize(
    "text",
    [
        *("charge|", "charge #x", "charge ~1", "\1sweep|", "\1sweep|x", "\1settle", "\1settle|fan", "\1settle|fan|"),
        *(
            "\1later",
            "\1later|x",
            "\1deadline|",
            "\1deadline|x",
            "|x",
            "|[]",
            '|["order::a"]',
            '|["order::a",1]',
            '|{"a":"b"}',
            "|null",
        ),
    ],
)
def test_a_text_that_nobody_has_written_is_none(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize("text", ["", "x", "|", "|a", "||"])
def test_an_entry_that_names_no_run_is_none(text):
    with pytest.raises(ValueError, match="names no run"):
        parse_member(text)
