"""Every block of code of the README and the docs is run, on real workers where it needs them, and prints what the page says.

A comment right above a block says what is done with it:

- ``<!-- file: shop.py -->``: it is that file; in the file, as in all Python, the URL of a Redis on this machine stands
  for that of the tests' server;
- ``<!-- with a worker: shop -->``: it is a program of its own, run beside ``celery -A shop worker``;
- ``<!-- run by: tests/... -->``: that test runs it;
- ``<!-- not run: reason -->``.

Python without such a comment is put together with the other such blocks of its page, and run in one process. A block of
``text`` is what the block of Python before it prints. There is no other kind of block.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery
from stage import eventually

import hephaestus_celery
from hephaestus_celery import Again, Async, Error, Ok, RetryPolicy
from hephaestus_celery.client.listing import FILTERS
from hephaestus_celery.core.definition.builtin import UNITS
from hephaestus_celery.core.definition.step import OPTIONS as STEP_OPTIONS
from hephaestus_celery.core.definition.validation import OPTIONS as WORKFLOW_OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if "```" in page.read_text(encoding="utf-8")
]
FENCE = re.compile(
    r"^(?:<!-- (?P<directive>[a-z ]+): (?P<argument>.+?) -->\n)?^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
INDEX = ROOT / "docs" / "index.md"
MARK = "-- end of output --"
REDIS = "redis://localhost:6379/0"


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    directive: str | None
    argument: str
    body: str


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            line=text[: found.start("language")].count("\n") + 1,
            language=found["language"],
            directive=found["directive"],
            argument=found["argument"] or "",
            body=found["body"],
        )
        for found in FENCE.finditer(text)
    ]


def named(page):
    return str(page.relative_to(ROOT))


class Reader:
    """Does what a page says, in a folder of its own."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url
        self.worker = self.module = None
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HEPHAESTUS")}
        self.environment = {**environment, "PYTHONWARNINGS": "error::DeprecationWarning:__main__", "PYTHONPATH": ""}

    def write(self, name, body):
        file = self.folder / name
        file.write_text(body.replace(REDIS, self.url), encoding="utf-8")
        os.utime(file, ns=(time.time_ns(), time.time_ns()))
        self.stop()
        return file

    def run(self, name, body):
        file = self.folder / name
        file.write_text(body.replace(REDIS, self.url), encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, "-B", str(file)],
            **self.process(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def process(self):
        return {"env": self.environment, "cwd": self.folder}

    def start(self, module):
        if self.worker is not None and self.module == module:
            return
        self.stop()
        log = self.folder / "worker.log"
        with log.open("wb") as file:
            self.worker = subprocess.Popen(
                [sys.executable, "-B", "-m", "celery", "-A", module, "worker", "--loglevel", "INFO", "-c", "1"],
                **self.process(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.module = module

        def ready():
            assert self.worker.poll() is None, log.read_text()
            return " ready." in log.read_text()

        eventually(ready, timeout=60, what=f"a worker of {module}")

    def stop(self):
        if self.worker is not None:
            os.killpg(self.worker.pid, signal.SIGKILL)
            self.worker.wait()
            self.worker = None


@pytest.fixture
def reader(tmp_path, private_server):
    app = Celery(broker=private_server.url)
    with app.connection() as connection:
        connection.default_channel.client.flushall()
    reader = Reader(tmp_path, private_server.url)
    yield reader
    reader.stop()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_code_of_a_page_prints_what_the_page_says(page, reader):
    script, expected = [], []
    printed = None
    for block in blocks_of(page):
        match block.directive, block.language:
            case "file", "python":
                reader.write(block.argument, block.body)
            case "with a worker", "python":
                reader.start(block.argument)
                printed = reader.run("client.py", block.body)
            case None, "python":
                script.append(block.body)
                printed = None
            case None, "text" if printed is not None:
                assert printed.strip() == block.body.strip(), f"{named(page)}:{block.line}"
            case None, "text":
                script.append(f"print({MARK!r})")
                expected.append(block.body.strip())
            case _:
                pass
    if script:
        parts = reader.run("page.py", "\n".join(script)).split(MARK)
        assert [part.strip() for part in parts][: len(expected)] == expected


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_block_of_a_page_is_run_or_says_why_not(page):
    unaccounted = []
    shown = False
    for block in blocks_of(page):
        match block.directive, block.language:
            case ((None | "file" | "with a worker"), "python"):
                shown = True
            case None, "text" if shown:
                pass
            case "run by", ("text" | "python" | "sh"):
                assert (ROOT / block.argument).exists(), block.argument
            case "not run", ("text" | "python" | "sh" | "ini"):
                assert len(block.argument.split()) > 1, "a reason"
            case _:
                unaccounted.append(f"{named(page)}:{block.line} {block.language or 'no language'}")
    assert unaccounted == []


def test_no_fence_of_a_page_is_overlooked():
    counted = {named(page): len(blocks_of(page)) for page in PAGES}
    assert counted == {named(page): page.read_text(encoding="utf-8").count("```") // 2 for page in PAGES}


def linked_from(page):
    """The files that a page links to, and headings of its own that it does not have."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    files, missing = set(), []
    for link in LINK.findall(prose):
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (heading and heading not in headings_of(target)):
            missing.append(f"{named(page)}: {link}")
        files.add(target)
    return files, missing


def headings_of(page):
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-") for title in titles}


EVERY_PAGE = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=named)
def test_the_links_of_a_page_lead_somewhere(page):
    assert linked_from(page)[1] == []


@pytest.mark.parametrize("start", ["README.md", "docs/index.md"])
def test_every_page_is_found_from_where_a_reader_begins(start):
    found, pending = set(), [ROOT / start]
    while pending:
        page = pending.pop()
        if page.suffix == ".md" and page not in found:
            found.add(page)
            pending += linked_from(page)[0]
    assert [named(page) for page in EVERY_PAGE if "docs" in page.parts and page not in found and page != INDEX] == []


def test_the_docs_stand_alone():
    """Built into a site, they have nothing beside them."""
    docs = ROOT / "docs"
    pages = [page for page in EVERY_PAGE if page.is_relative_to(docs)]
    outside = {
        named(page): {target for target in linked_from(page)[0] if not target.is_relative_to(docs)} for page in pages
    }
    assert {page: targets for page, targets in outside.items() if targets} == {}


def test_every_page_stands_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in EVERY_PAGE if "docs" in page.parts]
    assert [page for page in pages if menu.count(f" {page}\n") != 1] == []


def test_the_guides_name_every_option_of_a_definition_and_of_a_caller():
    guides = [ROOT / "README.md", *(page for page in EVERY_PAGE if {"docs", "reference"} & {*page.parts} == {"docs"})]
    text = "".join(page.read_text(encoding="utf-8") for page in guides)
    results = [
        option for public in (Ok, Async, Again, Error, RetryPolicy) for option in inspect.signature(public).parameters
    ]
    scopes = [f'"{scope}"' for scope in ("workflow", "version", "global", "none")]
    public = [
        name for name in hephaestus_celery.__all__ if not name.endswith("Error") or name == "Error"
    ]  # the page of errors has them all
    names = [*public, *WORKFLOW_OPTIONS, *STEP_OPTIONS, *FILTERS, *UNITS, *results, *scopes]
    assert [name for name in dict.fromkeys(names) if not re.search(rf"(?<!\w){name}(?!\w)", text)] == []


def test_the_reference_pages_are_fresh():
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "print_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
