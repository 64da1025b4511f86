"""The benchmark can be run: what needs no long measurement is measured, and written where it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import against

ROOT = Path(__file__).parents[2]
ROWS = ["costs", "emit", "import"]


def bench(folder, *options):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.usefixtures("server_program")
def test_the_cheap_rows_are_measured_and_leave_nothing_behind(tmp_path):
    temporary, output = tmp_path / "temporary", tmp_path / "output"
    ran = bench(temporary, "--quick", "--rounds", "1", "--only", ",".join(ROWS), "--output", str(output))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (
        "ours: broker messages                               1         1 .. 1         per step  budget = 1.00: met"
        in ran.stdout
    )
    assert list(temporary.iterdir()) == []
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert [contest["name"] for contest in results["contests"]] == ROWS
    assert all(len(contest["rounds"]) == 1 and contest["lines"] for contest in results["contests"])
    counted = {line["title"]: line["median"] for line in results["contests"][0]["lines"]}
    assert counted["ours: store round trips"] == 2
    assert ET.parse(output / "benchmarks.svg").getroot().tag.endswith("svg")
    assert "| ours: broker messages | 1 per step | = 1.00 | yes |" in (output / "benchmarks.md").read_text(
        encoding="utf-8"
    )


def test_a_row_that_is_not_there_is_refused_by_name(tmp_path):
    ran = bench(tmp_path, "--only", "emit,nothing")
    assert ran.returncode == 2
    assert "nothing names no row; there are costs, latency" in ran.stderr


@pytest.mark.parametrize(
    ("unit", "before", "after", "ratio"), [("ms", 2.0, 3.0, 1.5), ("steps/s", 300.0, 200.0, 1.5), ("per step", 0, 0, 1)]
)
def test_a_ratio_above_one_is_worse_whatever_the_unit(unit, before, after, ratio):
    found = against.compared("ours", unit, [({"ours": before}, {"ours": after})])
    assert (found.ratio.median, found.is_worse) == (ratio, ratio > 1)


def test_this_checkout_is_compared_with_itself(tmp_path):
    output = tmp_path / "output"
    ran = bench(
        tmp_path / "temporary",
        *("--against", str(ROOT), "--quick", "--only", "emit", "--rounds", "1", "--output", str(output)),
    )
    assert "log handler" in ran.stdout, ran.stdout + ran.stderr
    [row] = json.loads((output / "against.json").read_text(encoding="utf-8"))
    assert (row["name"], row["rounds"], row["failure"]) == ("emit", 1, None)
