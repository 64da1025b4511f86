"""How terminals show every reading command: colours and no colours, 80 and 200 columns, wide characters."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import flows
import pytest
from pseudo_terminal import STYLES, PseudoTerminal
from stage import eventually

from hephaestus_celery.cli.commands.doctor import _STYLES as OF_FINDINGS
from hephaestus_celery.cli.commands.history import OUTCOME_STYLES
from hephaestus_celery.cli.render import screen
from hephaestus_celery.cli.statuses import RUN_STYLES, STEP_STYLES
from hephaestus_celery.reports.text import columns as width

pytestmark = pytest.mark.only_on("redis", why="no command cares which broker there is")

FailingRaises = flows.failing(flows.Raises)
ON_BOTH = {"0", "1", "2", "31", "32", "35", "36"}  # reset, bold, dim, red, green, magenta, cyan
PROGRAM = Path(__file__).parents[1] / "support" / "every_command.py"


@pytest.fixture
def filled(stage):
    """Runs of all kinds, with ids and data that take twice their length on a screen."""
    stage.start_workers(1)
    waiting = stage.hephaestus.start_instance(flows.Approval, {"value": "🚀東京" * 30}, id="🚀東京" * 30)
    failed = stage.hephaestus.start_instance(FailingRaises, {"value": "\x1b[31m"}, id="x" * 150)
    failed.wait(60)
    stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="1").wait(60)
    eventually(lambda: waiting.status == "waiting", what="it waits")
    cancelled = stage.hephaestus.start_instance(flows.Approval, {"value": 1}, id="2")
    cancelled.cancel("enough")
    stage.runs = (waiting.run_id, failed.run_id, cancelled.run_id)
    return stage


def commands(stage, *before):
    ours = ["-A", "worker_app", *before, "hephaestus"]
    waiting, failed, cancelled = stage.runs
    return [
        [*ours, *words]
        for words in (
            ["list"],
            ["show", waiting],
            ["show", failed],
            ["show", cancelled],
            ["history", waiting],
            ["history", failed],
            ["workflows"],
            ["graph", "diamond"],
            ["stats"],
            ["doctor"],
            ["watch", failed],
        )
    ]


def on_a_terminal(stage, asked, *, columns, **environment):
    variables = {**stage.environment("client"), "PYTHONWARNINGS": "ignore", **environment}
    terminal = PseudoTerminal(
        [sys.executable, str(PROGRAM), json.dumps(asked)], columns=columns, lines=50, environment=variables
    )
    with terminal:
        assert terminal.wait(120) == 0
        shown = terminal.raw.decode()
    # Between frames of `watch`, only what it leaves behind is a matter of lines.
    return re.sub(r"\x1b\[\?1049h.*?\x1b\[\?1049l", "", shown, flags=re.DOTALL)


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_gets_lines_that_fit_it_in_colours_that_are_read_on_dark_and_light(filled, columns):
    shown = on_a_terminal(filled, commands(filled), columns=columns)
    print(shown)
    assert {code for codes in re.findall(r"\x1b\[([0-9;]*)m", shown) for code in codes.split(";")} <= ON_BOTH
    plain = STYLES.sub("", shown)
    assert "\x1b" not in plain
    for part in re.split(r"^# ", plain, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        assert lines, command
        assert max(map(width, lines)) <= columns, command
        assert not (command.endswith("doctor") and "…" in part), "what it advises is there as a whole"
    for said in ("🚀東京", "✗ raises", "RuntimeError: it broke", "enough", "--done-->", "linear"):
        assert said in plain, said


@pytest.mark.parametrize("how", ["NO_COLOR", "TERM", "--no-color"])
def test_colours_can_be_turned_off(filled, how):
    environment = {"NO_COLOR": {"NO_COLOR": "1"}, "TERM": {"TERM": "dumb"}}.get(how, {})
    asked = commands(filled, *(["--no-color"] if how == "--no-color" else []))
    shown = on_a_terminal(filled, asked, columns=80, **environment)
    assert "\x1b[" not in shown
    assert "✗ raises" in shown


def test_a_pipe_gets_no_colours_and_whole_lines(filled):
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(commands(filled))],
        env={**filled.environment("client"), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "\x1b" not in ended.stdout
    assert "x" * 150 in ended.stdout


def test_all_styles_are_of_words_that_are_read_on_dark_and_light():
    for styles in (RUN_STYLES, STEP_STYLES, OUTCOME_STYLES, OF_FINDINGS):
        assert {word for style in styles.values() for word in style.split()} <= screen.STYLES
