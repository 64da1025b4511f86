"""Scripts are composed of the parts that they need, and of no other."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from hephaestus_celery.core.execution import limits
from hephaestus_celery.core.execution.due import RESCUE_REASONS
from hephaestus_celery.storage.redis.constants import CONSTANTS, with_constants
from hephaestus_celery.storage.redis.scripts import NAMES, Scripts, assemble, compose, without_unused

FOLDER = resources.files("hephaestus_celery.storage.redis") / "lua"
FILES = {
    **{f"{name}.lua": (FOLDER / f"{name}.lua").read_text(encoding="utf-8") for name in NAMES},
    **{
        f"parts/{part.name}": part.read_text(encoding="utf-8")
        for part in (FOLDER / "parts").iterdir()
        if part.name.endswith(".lua")
    },
}


def gives(source):
    """The names that a part defines for those who need it."""
    return set(re.findall(r"(?m)^local function (\w+)", source)) | {
        name for names in re.findall(r"(?m)^local ([\w, ]+?)(?: =|$)", source) for name in names.split(", ")
    }


def needs(source):
    found = re.search(r"(?m)^-- needs: (.+)$", source)
    return found[1].split() if found else []


def test_every_file_is_a_script_or_a_part_of_one():
    scripts = {file.name for file in FOLDER.iterdir() if file.name.endswith(".lua")}
    assert scripts == {f"{name}.lua" for name in NAMES}
    assert {part for source in FILES.values() for part in needs(source)} == {
        name.removeprefix("parts/").removesuffix(".lua") for name in FILES if name.startswith("parts/")
    }


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_uses_each_part_that_it_asks_for_or_what_that_asks_for(name):
    code = re.sub(r"--.*", "", FILES[name])

    def is_used(part):
        source = FILES[f"parts/{part}.lua"]
        words = gives(source)
        return any(re.search(rf"\b{word}\b", code) for word in words) or any(map(is_used, needs(source)))

    assert [part for part in needs(FILES[name]) if not is_used(part)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_script_has_all_functions_and_constants_that_it_uses(name):
    source = compose(name)
    code = re.sub(r"'[^']*'|\"[^\"]*\"", "''", re.sub(r"--.*", "", source))
    known = {word for text in FILES.values() for word in gives(text)}
    defined = gives(source) | set(re.findall(r"local function (\w+)", source))
    used = set(re.findall(r"(?<![\w.:'])(\w+)\(", code)) | set(re.findall(r"\b[A-Z][A-Z_]{2,}\b", code))
    assert used & known <= defined


@pytest.mark.parametrize("name", NAMES)
def test_a_script_has_no_function_that_it_does_not_call(name):
    def functions(source):
        return re.findall(r"(?m)^local function (\w+)", source)

    source = compose(name)
    code = re.sub(r"--.*", "", source)
    assert [function for function in functions(source) if len(re.findall(rf"\b{function}\b", code)) < 2] == []
    whole, kept = (
        [line for line in text.splitlines() if re.match(r"(?!local function |end$)\S", line)]
        for text in (assemble(name), without_unused(assemble(name)))
    )
    assert kept == whole  # what is no function is as it was


def test_a_function_that_only_unused_ones_call_is_left_out_too():
    source = """local function a(x)
  return b(x)
end
local function b(x) return x end -- called by a alone
-- d is in a comment only
local function c()

  if p.c then
    return 1
  end
end

local function d() return 'c' end
local e = c()
"""
    assert (
        without_unused(source)
        == """-- d is in a comment only
local function c()

  if p.c then
    return 1
  end
end

local e = c()
"""
    )


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_begins_with_what_it_is_for(name):
    first = FILES[name].partition("\n")[0]
    assert first.startswith("-- ")
    assert not first.startswith("-- needs:")


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_constant_of_the_rules_is_written_down_again(name):
    code = re.sub(r"--.*", "", FILES[name])
    defined = {word for names in re.findall(r"(?m)^\s*local ([\w, ]+?) =", code) for word in names.split(", ")}
    assert defined & set(CONSTANTS) == set()
    assert [reason for reason in RESCUE_REASONS.values() if f"'{reason}'" in code] == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_number_has_a_name_and_a_reason(name):
    bare = []
    for line in FILES[name].splitlines():
        code = re.sub(r"'[^']*'", "''", line.partition("--")[0])
        numbers = [found for found in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", code) if float(found) > 9 or "." in found]
        has_name = re.match(r"local [A-Z_]+ = \d+(?: \^ \d+)? -- \w", line)
        bare += [] if has_name else numbers
    assert bare == []


def test_every_limit_of_the_rules_is_a_constant_of_the_scripts():
    assert {name for name in vars(limits) if name.isupper()} <= set(CONSTANTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_with_the_texts_that_it_uses_and_has_numbers_in_their_places(name):
    source = compose(name)
    code = re.sub(r"--.*", "", source)
    lines = code[: code.index("local run, start, history")].splitlines()
    given = {line.split()[1] for line in lines if line.strip()}
    body = re.sub(r"'[^']*'", "''", code[code.index("local run, start, history") :])
    assert given == {name for name in CONSTANTS if re.search(rf"\b{name}\b", body)}
    assert [name for name in given if isinstance(CONSTANTS[name], (int, float))] == []


def test_constants_are_written_as_lua_has_them():
    assert "(step.r.n or 0) >= 2)" in compose("tick")
    assert "local REASON_LEASE_EXPIRED = 'lease expired'\n" in compose("tick")
    assert "local STATUSES = { 'pending', 'running', 'waiting', 'completed', 'failed', 'cancelled' }\n" in compose(
        "tick"
    )


def test_comments_and_strings_keep_the_names_of_constants():
    line = "redis.call('FEW') -- at most FEW, or \"SMALL\"\n"
    assert with_constants(line) == line


def test_the_scripts_are_composed_once_for_all_storages_of_a_process():
    first, second = Scripts(), Scripts()
    assert all(first.sources[name] is second.sources[name] for name in NAMES)
    first.sources["tick"] = "return 1"
    assert Scripts().sources["tick"] == second.sources["tick"] == compose("tick")


def test_scripts_are_composed_anew_where_a_constant_is_another(monkeypatch):
    before = Scripts()
    monkeypatch.setitem(CONSTANTS, "SECOND", 1_234_567)
    assert "1234567" in Scripts().sources["tick"]
    assert "1234567" not in before.sources["tick"]
