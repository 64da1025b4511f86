"""The operator's hour can be recorded, in a smaller one, and the page of the docs has the same scenes and lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.hour.terminal import Terminal, UnexpectedError, environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guides" / "operators-hour.md"
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEADLINE = 900  # seconds, where other tests run beside it; by itself it takes about a minute


def told(page):
    """The titles of a page and the lines that were typed, with numbers that differ each time left out."""
    lines = re.findall(r"^(?:## .*|\$ .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[\d,]+", "N", line) for line in lines]


@pytest.mark.usefixtures("server_program")
def test_the_hour_goes_as_the_page_tells(tmp_path):
    temporary, page = tmp_path / "temporary", tmp_path / "page.md"
    temporary.mkdir()
    command = [sys.executable, "-m", "benchmarks.hour", "--orders", "20", "--cancelled", "200", "--output", str(page)]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert told(page) == told(PAGE)
    assert list(temporary.iterdir()) == []


def test_what_the_readme_has_was_typed():
    [block] = re.findall(r"<!-- run by: tests/examples/test_hour.py -->\n```sh\n(.*?)```", README, re.DOTALL)
    lines = [f"$ {line.partition(' #')[0].rstrip()}" for line in block.splitlines()]
    assert len(lines) > 3
    typed = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line not in typed] == []


@pytest.fixture
def terminal(tmp_path):
    return Terminal(folder=tmp_path, environment=environment(tmp_path))


def test_a_terminal_keeps_what_was_typed_and_shown(terminal):
    terminal.type("echo one; echo two >&2")
    terminal.type("test -t 1", code=0)
    assert terminal.emptied() == "$ echo one; echo two >&2\none\ntwo\n\n$ test -t 1"


@pytest.mark.parametrize(("after", "shown"), [("", "two"), ("the end", "the end")])
def test_of_frames_the_last_is_kept_unless_something_comes_after_them(terminal, after, shown):
    frames = r"\033[?1049h\033[Hone\033[J\033[H\033[Ktwo\033[J\033[?1049l"
    assert terminal.type(f"printf '{frames}{after}'").text == shown


@pytest.mark.parametrize(
    "unexpected",
    [
        lambda terminal: terminal.type("exit 3"),
        lambda terminal: terminal.type("echo one").has("two"),
    ],
)
def test_what_is_not_as_expected_ends_the_hour(terminal, unexpected):
    with pytest.raises(UnexpectedError):
        unexpected(terminal)
