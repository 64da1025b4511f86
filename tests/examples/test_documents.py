"""Every Python block of the README and the docs is run; what it prints must be what the page says it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```python" in page.read_text(encoding="utf-8")
]
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "-- end of output --"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_prints_what_the_page_says(page, tmp_path):
    script, expected = [], []
    for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            script.append(body)
        elif script:
            script.append(f"print({MARK!r})")
            expected.append(body.strip())
    file = tmp_path / "page.py"
    file.write_text("\n".join(script), encoding="utf-8")
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    ran = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    printed = [part.strip() for part in ran.stdout.split(MARK)]
    assert printed[: len(expected)] == expected


def test_the_reference_pages_are_fresh():
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "print_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
