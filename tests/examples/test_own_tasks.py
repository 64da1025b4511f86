"""The workflow of the README that is made of an application's own tasks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TASKS = """
from celery import shared_task


@shared_task
def pack(boxes):
    return {"kilos": 3 * boxes}


@shared_task(bind=True, autoretry_for=(OSError,))
def send(self, kilos):
    if self.request.retries == 0:
        raise OSError("busy")
    return f"sent {kilos} kg"
"""
CLIENT = """
import celery
from flows import ParcelFlow
from hephaestus_celery import Hephaestus, Settings, RetryPolicy

app = celery.Celery("parcels")
with Hephaestus(settings=Settings(default_retry=RetryPolicy(base=0.01))):
    print(ParcelFlow.start("p1", {"boxes": 2}).wait(30).context.steps["send"])
"""


def block_of(directive):
    [found] = re.findall(rf"<!-- {re.escape(directive)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    return found


def test_tasks_that_are_there_become_a_workflow(tmp_path):
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "flows.py").write_text(block_of("run by: tests/examples/test_own_tasks.py"))
    (tmp_path / "client.py").write_text(CLIENT)
    ran = subprocess.run(
        [sys.executable, "client.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == ("{'value': 'sent 6 kg'}\n", "")


def test_the_first_workflow_has_fifteen_lines_and_that_of_tasks_five():
    first, tasks = block_of("file: shop.py"), block_of("run by: tests/examples/test_own_tasks.py")
    lines = [line for line in first.splitlines() if line.strip()]
    assert len(lines) <= 15
    assert len([line for line in tasks.splitlines() if line.strip() and not line.startswith("from ")]) == 5
