"""The suites of `hephaestus_celery.testing.conformance`, used by a stranger: the wheel with its extra, and the guide's files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", GUIDE, re.DOTALL))
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter that has the wheel with its extra `testing`, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([UV, "venv", "--quiet", "--no-project", "--python", sys.executable, folder / "env"], check=True)
    interpreter = folder / "env/bin/python"
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", interpreter, f"hephaestus-celery[testing] @ {wheel.as_uri()}"],
        check=True,
    )
    return interpreter


def run_tests(python, folder, file):
    for name, body in FILES.items():
        (folder / name).write_text(body, encoding="utf-8")
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("HEPHAESTUS", "PYTHON", "PYTEST"))
    }
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", file],
        cwd=folder,
        env=bare,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def counted(printed, word):
    found = re.search(rf"(\d+) {word}", printed.splitlines()[-1])
    return int(found[1]) if found else 0


def test_a_storage_of_a_stranger_is_held_to_the_port(python, tmp_path):
    ran = run_tests(python, tmp_path, "test_shelf.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed, skipped = counted(ran.stdout, "passed"), counted(ran.stdout, "skipped")
    assert passed > 300, ran.stdout
    assert skipped < passed / 3, "what needs a probe"


def test_a_runner_of_a_stranger_is_held_to_the_port(python, tmp_path):
    ran = run_tests(python, tmp_path, "test_one_by_one.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (counted(ran.stdout, "passed") > 10, counted(ran.stdout, "skipped")) == (True, 0)


def test_a_storage_that_breaks_the_port_fails_its_suite(python, tmp_path):
    broken = FILES["shelf.py"] + "\n    def renew(self, attempts):\n        return [True for _ in attempts]\n"
    for name, body in {**FILES, "shelf.py": broken}.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    ran = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "renew or lease or fence", "test_shelf.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout


def test_the_package_itself_needs_no_pytest(tmp_path):
    hidden = "import sys; sys.modules['pytest'] = None; import hephaestus_celery.testing"
    ran = subprocess.run([sys.executable, "-c", hidden], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
