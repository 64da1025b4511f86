"""The walks of CONTRIBUTING name modules that exist, and its list of folders names every package."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hephaestus_celery"
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
LUA = PACKAGE / "storage" / "redis" / "lua"


def test_every_module_that_is_named_exists():
    named = re.findall(r"`([\w/]+\.(?:py|lua))`", PAGE)
    found = [name for name in named if (PACKAGE / name).exists() or (LUA / name).exists() or (ROOT / name).exists()]
    assert len(named) > 30
    assert [name for name in named if name not in found] == []


def test_every_function_in_a_walk_is_in_its_module():
    rows = re.findall(r"^\| `([\w/]+\.py)` \| `(\w+)`", PAGE, re.MULTILINE)
    assert len(rows) > 3
    missing = [(module, name) for module, name in rows if name not in (PACKAGE / module).read_text(encoding="utf-8")]
    assert missing == []


def test_every_package_stands_in_the_list_of_folders():
    folders = {
        path.parent.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("__init__.py")
        if path.parent != PACKAGE and "_examples" not in path.parts
    }
    listed = re.search(r"```text\nhephaestus_celery/\n(.*?)```", PAGE, re.DOTALL)
    assert listed is not None
    assert [folder for folder in sorted(folders) if f"  {folder}/ " not in listed[1]] == []


def test_the_first_line_of_each_module_and_script_says_what_it_is_for():
    firsts = {path: path.read_text(encoding="utf-8").split("\n", 1)[0] for path in PACKAGE.rglob("*.py")}
    firsts = {path: first.removesuffix('"""').removeprefix('"""') for path, first in firsts.items() if first}
    firsts |= {
        path: path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("-- ") for path in LUA.rglob("*.lua")
    }
    assert len(firsts) > 250
    assert {path: first for path, first in firsts.items() if not first.endswith(".") or len(first) > 120} == {}
