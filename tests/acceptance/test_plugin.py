"""The plug-in among Celery's own commands: nothing of ours breaks them, and what shells complete."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.only_on("redis", why="no command cares which broker there is")

BIN = Path(sys.executable).parent
BROKEN = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise {error}
sys.meta_path.insert(0, Finder())
from celery.__main__ import main
sys.argv = ["celery", *{words!r}]
main()
"""
SHOW = "hephaestus_celery.cli.commands.show"
FAULTS = [
    (SHOW, "SyntaxError('invalid syntax')"),
    ("hephaestus_celery.cli.run_page", "ModuleNotFoundError('No module named rich')"),
    (SHOW, "KeyError('x')"),
]


def python(stage, code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**stage.environment("client"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("module", "error"), FAULTS)
def test_a_command_that_can_not_be_loaded_breaks_no_other(stage, module, error):
    def celery(*words):
        return python(stage, BROKEN.format(module=module, error=error, words=list(words)))

    help_text = celery("--help")
    assert (help_text.returncode, help_text.stderr) == (0, "")
    assert re.search(r"^ +hephaestus +See, start and steer", help_text.stdout, re.MULTILINE)
    assert celery("-A", "worker_app", "worker", "--help").returncode == 0
    ours = celery("-A", "worker_app", "hephaestus", "--help")
    assert (ours.returncode, "List runs, newest first" in ours.stdout) == (0, True)
    assert "show can't be loaded" in ours.stdout
    assert celery("-A", "worker_app", "hephaestus", "list").returncode == 0
    broken = celery("-A", "worker_app", "hephaestus", "show", "1")
    assert broken.returncode == 1
    assert broken.stderr.startswith("Error: show can't be loaded: ")
    assert len(broken.stderr.splitlines()) == 1


def test_a_dependency_that_is_missing_is_told_by_the_commands_that_need_it(stage):
    def celery(*words):
        return python(
            stage,
            BROKEN.format(module="redis", error="ModuleNotFoundError('No module named redis')", words=list(words)),
        )

    assert celery("--help").returncode == 0
    ours = celery("hephaestus", "--help")
    assert (ours.returncode, "Traceback" in ours.stderr) == (0, False)


def test_the_plugin_costs_plain_commands_a_part_of_celerys_own_start():
    code = "import sys, time; t = time.process_time(); import celery.bin.celery; print(time.process_time() - t)"
    without = f"import importlib.metadata as m; find = m.entry_points; m.entry_points = lambda **k: []; {code}"

    compiled = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # as what is installed is

    def best(code):
        call = [sys.executable, "-c", code]
        took = [
            float(subprocess.run(call, env=compiled, capture_output=True, text=True, check=True).stdout)
            for _ in range(5)
        ]
        return min(took)

    plain, plugged = best(without), best(code)
    print(f"celery alone {plain:.3f} s, with the plug-in {plugged:.3f} s: {plugged / plain:.2f} x")
    assert plugged < 1.5 * plain


def complete(shell, words, stage=None, **environment):
    """What the protocol of click answers."""
    parts = words.split(" ")
    began = time.monotonic()
    ended = subprocess.run(
        [str(BIN / "celery")],
        env={
            **(stage.environment("client") if stage else {"PATH": str(BIN)}),
            "_CELERY_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": " ".join(parts[:-1]) if shell == "fish" else words,
            "COMP_CWORD": parts[-1] if shell == "fish" else str(len(parts) - 1),
            "PYTHONWARNINGS": "ignore",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended, time.monotonic() - began


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("celery heph", "hephaestus"),
        ("celery -A worker_app hephaestus wat", "watch"),
        ("celery -A worker_app hephaestus start lin", "linear"),
        ("celery -A worker_app hephaestus list --workflow lin", "linear"),
        ("celery -A worker_app hephaestus list --status fai", "failed"),
        ("celery -A worker_app hephaestus list --waiti", "--waiting-for"),
    ],
)
def test_the_protocol_of_each_shell_completes_commands_options_and_workflows(stage, shell, words, found):
    ended, _ = complete(shell, words, stage)
    assert re.search(rf"\b(plain,|plain\n)?{re.escape(found)}\b", ended.stdout), ended
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ("celery -A worker_app hephaestus start lin", {"HEPHAESTUS_TEST_STATE": "redis://192.0.2.1:6379/0"}),
        ("celery -A worker_app hephaestus show ", {"HEPHAESTUS_TEST_STATE": "redis://192.0.2.1:6379/0"}),
        ("celery -A no_such_module hephaestus start lin", {}),
        ("celery -A no_such_module hephaestus sho", {}),
        ("celery hephaestus start lin", {}),
    ],
)
def test_completion_asks_no_store_and_raises_nothing(stage, words, environment):
    ended, took = complete("bash", words, stage, **environment)
    assert "Traceback" not in ended.stderr
    assert took < 30
    if "start" not in words and not words.endswith(" "):
        assert "plain,show" in ended.stdout


def sourced(stage, shell, script):
    if shutil.which(shell) is None and not os.environ.get("CI"):
        pytest.skip(f"{shell} is not installed; its protocol has a test of its own")
    environment = {**stage.environment("client"), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [shell, "-c", script],
        env={**environment, "PATH": f"{BIN}:{environment.get('PATH', '/usr/bin:/bin')}", "HOME": str(stage.folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_bash_completes(stage):
    script = """
    eval "$(_CELERY_COMPLETE=bash_source celery)"
    complete -p celery
    COMP_WORDS=(celery -A worker_app hephaestus start lin); COMP_CWORD=5
    _celery_completion celery; echo "${COMPREPLY[@]}"
    """
    ended = sourced(stage, "bash", script)
    assert ended.stdout.splitlines()[-1] == "linear", ended
    assert "-F _celery_completion celery" in ended.stdout


def test_fish_completes(stage):
    script = '_CELERY_COMPLETE=fish_source celery | source; complete -C "celery -A worker_app hephaestus start lin"'
    ended = sourced(stage, "fish", script)
    assert "linear" in ended.stdout.split(), ended


def test_zsh_completes(stage):
    # Its completion works in a line editor alone: the function is called as that would, and says what it would add.
    script = """
    autoload -U compinit; compinit -u -d "$HOME/.zcompdump"
    eval "$(_CELERY_COMPLETE=zsh_source celery)"
    [[ ${_comps[celery]} == _celery_completion ]] || exit 7
    compadd() { print -r -- $completions }
    _describe() { print -r -- $completions_with_descriptions }
    words=(celery -A worker_app hephaestus start lin); CURRENT=6
    _celery_completion
    """
    ended = sourced(stage, "zsh", script)
    assert "linear" in ended.stdout, ended
