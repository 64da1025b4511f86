"""Workflows that a program defines itself have the names that they have for a worker, which imports it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hephaestus_celery

CODE = """
from celery import Celery
from hephaestus_celery import Done, Hephaestus, Ok, Step, Unique, Workflow
class A(Step):
    events = ("ok",)
    def execute(self, instance, config, context):
        return Ok("ok")
class V1(Workflow):
    unique = Unique("main")
    initial_step = A
    transitions = {(A, "ok"): Done}
class Both(Workflow):
    unique = Unique("main")
    versions = {1: V1}
    current = 1
if __name__ == "__main__":
    import shop.flows  # the same again, as the modules of an application do that import one another
    with Hephaestus(Celery("other", broker="redis://localhost:1/0")) as hephaestus:
        try:
            hephaestus.start_instance(Both, id="1")
        except Exception as error:
            refused = type(error).__name__
        print(V1.name, Both.name, V1.family, *sorted(n for n in hephaestus.app.tasks if "V1" in n), refused)
"""


def output_of(arguments, *, folder, text=None):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{Path(hephaestus_celery.__file__).parent.parent}"},
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("arguments", [["shop/flows.py"], ["-m", "shop.flows"]], ids=["script", "module"])
def test_a_workflow_of_a_program_has_the_name_of_its_file(tmp_path, arguments):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "flows.py").write_text(CODE)
    names = ["shop.flows.V1", "shop.flows.Both", "shop.flows.Both", "shop.flows.V1.a", "shop.flows.V1.done"]
    assert output_of(arguments, folder=tmp_path) == [*names, "StorageError"]


def test_one_of_a_prompt_is_refused(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "flows.py").touch()
    names = ["__main__.V1", "__main__.Both", "__main__.Both", "__main__.V1.a", "__main__.V1.done"]
    assert output_of(["-"], folder=tmp_path, text=CODE) == [*names, "ConfigurationError"]
