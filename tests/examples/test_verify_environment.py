"""The steps of the example, in a process of their own: importing it makes a runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

SCRIPT = """
import contextlib, json, sys
import verify_environment as example
from hephaestus_celery import NotWaitingError
example.app.conf.task_always_eager = True
ended = {}
with example.hephaestus:
    for folder in sys.argv[1:]:
        handle = example.VerifyDistribution.start("it", {"folder": folder})
        with contextlib.suppress(NotWaitingError):  # one that has failed by now waits for nobody
            example.VerifyDistribution.resume("it", "approval", {"by": "Ada"}, keep_early=True)
        instance = handle.wait(timeout=30)
        ended[folder.rpartition("/")[2]] = {
            "status": instance.status,
            "steps": {key: dict(value) for key, value in instance.context.steps.items()},
            "skipped": [step.key for step in instance.skipped_steps],
            "failure": instance.failure and instance.failure.message,
        }
print(json.dumps(ended))
"""


def verify(*folders: Path) -> dict:
    return json.loads(run(SCRIPT, *folders))


def run(script, *arguments, path=()):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *map(str, path)])}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def distribution(folder, name="shop", *, record=None, fields=()):
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("\n".join([f"Name: {name}", "Version: 1.0", *fields, ""]))
    if record is not None:
        (metadata / "RECORD").write_bytes(record)
    return metadata


def test_an_untouched_distribution_is_sound(tmp_path):
    (tmp_path / "shop.py").write_bytes(b"")
    record = b"shop.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\nshop-1.0.dist-info/RECORD,,\n"
    made = distribution(tmp_path, record=record, fields=["License-Expression: MIT", "Requires-Dist: celery>=5"])
    ended = verify(made)[made.name]
    assert ended["steps"]["read_record"] == {"files": 2, "with_hash": 1}
    assert ended["steps"]["judge"] == {"verdict": "1 files verified, MIT"}
    assert ended["steps"]["check_dependencies"] == {"declared": 1, "unmet": 0, "names": []}
    assert (ended["status"], sorted(ended["skipped"])) == ("completed", ["accept", "approval"])


def test_a_missing_and_a_changed_file_need_approval(tmp_path):
    (tmp_path / "shop.py").write_bytes(b"changed")
    record = b"shop.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\ngone.py,sha256=abc,3\n"
    ended = verify(distribution(tmp_path, record=record))["shop-1.0.dist-info"]
    assert ended["steps"]["verify_files"] == {"verified": 2, "changed": 2, "names": ["shop.py", "gone.py"]}
    assert ended["steps"]["accept"] == {"verdict": "approved by Ada"}
    assert ended["status"] == "completed"


def test_without_a_record_the_other_branches_are_enough_for_a_verdict(tmp_path):
    fields = ["Classifier: License :: OSI Approved :: MIT License", "Requires-Dist: no-such-thing>1"]
    ended = verify(distribution(tmp_path, fields=fields))["shop-1.0.dist-info"]
    assert "verify_files" in ended["skipped"]
    assert ended["steps"]["judge"] == {"verdict": "no RECORD to verify, 1 dependencies unmet, MIT License"}
    assert ended["status"] == "completed"


def test_a_record_that_cannot_be_read_fails_the_run(tmp_path):
    folders = {"latin": b"caf\xe9.py,,\n", "short": b"shop.py\n", "quotes": b'"shop.py,,\n'}
    ended = verify(*[distribution(tmp_path, name, record=record) for name, record in folders.items()])
    assert {end["status"] for end in ended.values()} == {"failed"}
    assert all(end["failure"].startswith("RECORD can't be read") for end in ended.values())


def test_every_distribution_gets_a_name_of_its_own(tmp_path):
    for name in ("foo_bar", "foobar"):
        distribution(tmp_path, name)
    (tmp_path / "old.egg-info").write_text("Name: old\n")
    (tmp_path / "~leftover-1.0.dist-info").mkdir()
    later = tmp_path / "later"
    later.mkdir()
    distribution(later, "foobar")  # shadowed by the one before it
    script = "import json, verify_environment as example; print(json.dumps(example.installed()))"
    found = json.loads(run(script, path=(tmp_path, later)))
    ours = {name: folder for name, folder in found.items() if folder.startswith(str(tmp_path))}
    assert ours == {
        "foobar": str(tmp_path / "foo_bar-1.0.dist-info"),
        "foobar2": str(tmp_path / "foobar-1.0.dist-info"),
        "old": str(tmp_path / "old.egg-info"),
    }
