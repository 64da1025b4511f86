"""What the images are made of is written down: bases by release, packages by release and hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = [ROOT / "Dockerfile", ROOT / "docker-compose.yml", *sorted((ROOT / "tests/docker").glob("*.Dockerfile"))]


def pins(name):
    """The releases of a file, each with its hashes."""
    text = (ROOT / "deploy/docker" / name).read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [re.fullmatch(r"([\w.-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line) for line in lines]
    assert all(found), lines
    return {canonicalize_name(each[1]): each[2] for each in found}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_base_image_is_of_one_release_and_never_the_latest(file):
    bases = re.findall(r"(?:_IMAGE=|_IMAGE:-)([^}\s]+)", file.read_text(encoding="utf-8"))
    assert bases
    for base in bases:
        _, _, tag = base.partition(":")
        assert re.match(r"\d+\.\d+", tag), base


@pytest.mark.parametrize("extra", ["", "demo"])
def test_the_pinned_releases_are_those_that_the_package_takes(extra):
    pinned = pins("requirements.txt")
    wanted = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_flower_brings_no_other_release_of_what_is_there():
    pinned, flower = pins("requirements.txt"), pins("flower.txt")
    assert "flower" in flower
    assert {name: flower[name] for name in flower.keys() & pinned.keys()} == {
        name: pinned[name] for name in flower.keys() & pinned.keys()
    }
