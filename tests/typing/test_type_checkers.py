"""What type checkers say to code that uses the package: to right uses nothing, to wrong ones each mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILES = [HERE / name for name in ("right_uses.py", "wrong_uses.py", "right_types.py", "wrong_types.py")]


def pyright():
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", *FILES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = json.loads(run.stdout)["generalDiagnostics"]
    return {(Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"] for one in found}


def mypy(folder):
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", f"--cache-dir={folder}"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *FILES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(\S+?):(\d+): error: (.*)$", run.stdout, re.MULTILINE)
    assert found, run.stdout + run.stderr
    return {(Path(file).name, int(line)): message for file, line, message in found}


@pytest.fixture(scope="module", params=["pyright", "mypy"])
def errors(request, tmp_path_factory):
    return pyright() if request.param == "pyright" else mypy(tmp_path_factory.mktemp("mypy"))


def test_right_uses_have_no_errors(errors):
    assert {place: message for place, message in errors.items() if place[0].startswith("right_")} == {}


@pytest.mark.parametrize("file", ["wrong_uses.py", "wrong_types.py"])
def test_each_wrong_use_is_an_error_and_nothing_else_is(errors, file):
    lines = (HERE / file).read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# wrong: " in line}
    assert {line for name, line in errors if name == file} == wrong, errors
