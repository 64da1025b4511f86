"""The table of a history: beside each other where there is room, what is long under its row where there is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hephaestus_celery import HistoryEntry
from hephaestus_celery.cli.commands.history import show_history
from hephaestus_celery.cli.render.screen import Screen

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def entry(**fields):
    times = {"queued_at": BEGAN, "started_at": BEGAN, "finished_at": BEGAN + timedelta(milliseconds=14)}
    return HistoryEntry(**{"sequence": 4, "kind": "attempt", "step": "ship", "attempt": 1, **times, **fields})


FAILED = entry(outcome="failed", reason="KeyError: 'total'", worker="w1@shop")
UNDOES = entry(
    sequence=7, step="give_the_room_up", round=2, outcome="failed", compensates="book", reason="no " * 60 + "room"
)
CALL = entry(sequence=9, kind="cancel", step=None, attempt=None, outcome=None, by="ada", reason="changed her mind")


def shown(capsys, width, *entries):
    show_history(Screen(width=width, coloured=False, people=width is not None), entries)
    return capsys.readouterr().out.splitlines()


def test_a_narrow_terminal_has_what_is_long_under_its_row(capsys):
    lines = shown(capsys, 80, FAILED, UNDOES, CALL)
    assert lines[:3] == [
        "SEQ  TIME      KIND     STEP              ROUND  TRY  OUTCOME  TOOK",
        "  4  00:00:00  attempt  ship                       1  failed   14ms",
        "     KeyError: 'total'",
    ]
    assert lines[3:5] == [
        "  7  00:00:00  attempt  give_the_room_up      2    1  failed   14ms",
        "     undoes book; " + "no " * 20 + "no",
    ]
    assert " ".join(line.strip() for line in lines[4:-2]) == "undoes book; " + "no " * 60 + "room"
    assert lines[-1] == "     by ada; changed her mind"
    assert max(map(len, lines)) <= 80


def test_a_narrow_terminal_with_room_enough_has_it_beside_the_row(capsys):
    assert shown(capsys, 80, FAILED) == [
        "SEQ  TIME      KIND     STEP  TRY  OUTCOME  TOOK  REASON",
        "  4  00:00:00  attempt  ship    1  failed   14ms  KeyError: 'total'",
    ]


@pytest.mark.parametrize("width", [None, 200])
def test_wide_terminals_and_pipes_have_a_line_for_each_entry(capsys, width):
    lines = shown(capsys, width, FAILED, entry(compensates="book", outcome="completed", event="ok"))
    assert len(lines) == 3
    assert " ship (undoes book) " in lines[-1]
    assert lines[1].endswith("  KeyError: 'total'")
