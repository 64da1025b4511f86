"""What commands print is safe for terminals, fits them, and is the same for programs everywhere."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_celery.cli.following import entry_line
from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.cli.render.tables import Cell, Column, show_table
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.text import columns, fitted, printable, wrapped
from hephaestus_celery.reports.times import clock_time, iso, length

PIPE = Screen(people=False, coloured=False, width=None)
HEADINGS = (
    Column(heading="id", flexible=True),
    Column(heading="n", right=True),
    Column(heading="where", flexible=True),
)


def lines_of(capsys, screen, rows):
    show_table(screen, HEADINGS, rows)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("\u200bzero", r"\u200bzero"),
        ("\x9b2J", r"\x9b2J"),
        ("naïve 東京", "naïve 東京"),
    ],
)
def test_text_that_could_harm_a_terminal_is_escaped(text, safe):
    assert printable(text) == safe


@given(st.text(st.characters(codec=None)))
def test_whatever_is_printed_is_one_line_that_any_terminal_shows(text):
    safe = printable(text)
    assert safe.isprintable()
    safe.encode()


@given(st.text(), st.integers(0, 60))
def test_a_fitted_text_never_takes_more_columns_than_there_are(text, width):
    assert columns(fitted(printable(text), width)) <= max(width, 0)


def test_wide_characters_take_two_columns_and_combining_ones_none():
    assert columns("東京") == 4
    assert columns("e\u0301") == 1
    assert fitted("東京都", 4) == "東…"


@given(st.text(), st.integers(10, 60))
def test_a_wrapped_text_fits_and_loses_nothing_but_blanks(text, width):
    text = printable(text)
    lines = wrapped(text, width, indent=4)
    assert all(columns(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_wrapped_text_keeps_the_blanks_before_it():
    assert wrapped("  label: one two", 14, indent=4) == ["  label: one", "    two"]
    assert wrapped("  12:00 failed", 80, indent=4) == ["  12:00 failed"]


def test_a_value_of_a_megabyte_is_cut_before_it_is_looked_at():
    assert len(printable("x" * 1_000_000, limit=100)) == 101


def test_a_table_in_a_pipe_is_never_cut(capsys):
    lines = lines_of(capsys, PIPE, [("order::" + "x" * 300, "7", "ship"), ("b", "12", "")])
    assert len(lines[1]) > 300
    assert lines[1].endswith("   7  ship")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_table_fits_its_terminal(capsys, width):
    screen = dataclasses.replace(PIPE, people=True, width=width)
    rows = [("order::" + "東" * 90, "7", "ship: " + "x" * 99), ("a\x1b[2J", "123456", "y")]
    assert all(columns(line) <= width for line in lines_of(capsys, screen, rows))


def test_a_column_in_which_nothing_stands_is_left_out(capsys):
    assert lines_of(capsys, PIPE, [("a", "1", "")]) == ["ID  N", "a   1"]


def test_colours_are_there_only_where_they_are_wanted(capsys):
    screen = dataclasses.replace(PIPE, coloured=True)
    assert "\x1b[32m" in "".join(lines_of(capsys, screen, [(Cell("a", "green bold"), "1", "")]))
    assert "\x1b" not in "".join(lines_of(capsys, PIPE, [(Cell("a", "green bold"), "1", "")]))


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0ms"),
        (0.25, "250ms"),
        (1, "1s"),
        (9.94, "9.9s"),
        (42, "42s"),
        (60, "1m"),
        (200, "3m20s"),
        (3_600, "1h"),
        (90_000, "1d1h"),
        (timedelta(days=400), "400d"),
        (-5, "0ms"),
        (3_605, "1h"),
    ],
)
def test_a_duration_is_short(duration, text):
    assert length(duration) == text


def test_times_for_programs_have_their_zone_and_those_for_people_their_day():
    moment = datetime(2026, 1, 31, 12, 0, 0, 5_000, tzinfo=timezone(timedelta(hours=2)))
    assert iso(moment) == "2026-01-31T10:00:00.005Z"
    assert clock_time(moment, now=moment) == "10:00:00"
    assert clock_time(moment, now=moment + timedelta(days=1)) == "2026-01-31 10:00:00"


def test_a_document_is_json_of_ascii_whatever_it_holds():
    value = {
        "entry": HistoryEntry(sequence=1, kind="attempt", started_at=datetime(2026, 1, 1, tzinfo=UTC)),
        "price": Decimal("1.10"),
        "id": UUID(int=1),
        "day": date(2026, 1, 2),
        "wait": timedelta(seconds=1.5),
        "hostile": "\ud800\x1b[2J東",
        "keys": frozenset({"b", "a"}),
    }
    text = as_json(value)
    assert text.isascii()
    assert "\n" not in text
    found = json.loads(text)
    assert found["entry"]["started_at"] == "2026-01-01T00:00:00.000Z"
    assert found["entry"]["worker"] is None
    assert found["hostile"] == value["hostile"]
    assert (found["price"], found["day"], found["wait"], found["keys"]) == ("1.10", "2026-01-02", 1.5, ["a", "b"])


READ_NO_MORE = """
import click
from hephaestus_celery.cli.command_group import CommandGroup

@click.command()
def many():
    for number in range(1_000_000):
        click.echo(f"line {number}")

CommandGroup(places={"many": "__main__:many"})(["many"])
"""


def test_a_command_whose_output_nobody_reads_any_more_ends_without_a_word():
    command = subprocess.Popen([sys.executable, "-c", READ_NO_MORE], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout.readline() == b"line 0\n"
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait(timeout=30) == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"outcome": "retrying", "reason": "KeyError"},
            "call, attempt 1 failed after 14ms and is tried again: KeyError",
        ),
        ({"outcome": "completed", "event": "done"}, "call, attempt 1 completed with done after 14ms"),
        (
            {"outcome": "failed", "event": "@failed", "reason": "KeyError"},
            "call, attempt 1 failed for good after 14ms, and the run went on: KeyError",
        ),
        (
            {"outcome": "failed", "reason": "KeyError", "compensates": "pay"},
            "call (undoes pay), attempt 1 failed after 14ms: KeyError",
        ),
        (
            {"outcome": "again", "round": 3},
            "call, round 3, attempt 1 ended after 14ms, and another round follows",
        ),
        ({"kind": "rescue", "reason": "lease expired"}, "rescue call, attempt 1: lease expired"),
    ],
)
def test_a_line_of_a_history_says_whose_time_it_tells(fields, told):
    began = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"started_at": began, "finished_at": began + timedelta(milliseconds=14)}
    entry = HistoryEntry(**{"sequence": 1, "kind": "attempt", "step": "call", "attempt": 1, **times, **fields})
    assert entry_line(entry, PIPE) == f"2026-01-01T00:00:00.014Z {told}"
