from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import ConfigurationError

EXAMPLES = Path(__file__).parents[2] / "examples"

TRACE = """\
orderid::a1001  completed
  attempt  validate  completed  valid
  attempt  charge    completed  ok
  attempt  reserve   completed  ok
  attempt  payment   waiting
  resume   payment   completed  received
  attempt  ship      completed  ok
  attempt  done      completed  done
  shipped from shelf B7 to Ada
orderid::a1002  completed
  attempt  validate  completed  invalid
  attempt  done      completed  done
"""

CLIENT = """
from orders import OrderFlow
handle = OrderFlow.start("a1001", {"items": 3})
OrderFlow.resume("a1001", "paid", {"payer": "Ada"}, keep_early=True)
instance = handle.wait(timeout=60)
print(instance.status, instance.context.steps["ship"]["label"])
"""


def test_the_example_runs_in_its_own_process_without_services():
    # A broker at which nobody answers: it is not asked.
    environment = {**os.environ, "HEPHAESTUS_BROKER": "redis://localhost:1/0"}
    ended = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "orders.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    # The two branches run side by side, so that their lines may come in either order.
    assert sorted(ended.stdout.splitlines()) == sorted(TRACE.splitlines())
    lines = ended.stdout.splitlines()
    assert lines[0] == "orderid::a1001  completed"
    assert lines[1].split()[1] == "validate"
    assert [line.split()[1] for line in lines[6:8]] == ["ship", "done"]


@pytest.fixture
def environment(tmp_path):
    server = EmbeddedServer()
    try:
        server.start()
    except ConfigurationError as error:
        if os.environ.get("CI"):
            pytest.fail(f"no server for the tests, and this is CI: {error}")
        pytest.skip(f"no server: {error}")
    with server:
        yield {**os.environ, "HEPHAESTUS_BROKER": server.url, "PYTHONPATH": str(EXAMPLES), "C_FORCE_ROOT": "1"}


def test_the_example_runs_on_a_celery_worker(environment, tmp_path):
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "orders", "worker", "--pool", "prefork", "--concurrency", "2"],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        # The run is stored and waits for the worker to come up, if it has not yet.
        ended = subprocess.run(
            [sys.executable, "-c", CLIENT], env=environment, capture_output=True, text=True, timeout=90, check=False
        )
    finally:
        worker.terminate()
        worker.wait(timeout=30)
    assert (ended.stdout, ended.stderr) == ("completed from shelf B7 to Ada\n", ""), log.read_text()
