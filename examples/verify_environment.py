"""Is what is installed here still what was installed? One workflow for each Python distribution of an environment.

Its RECORD is read; then, side by side, the SHA-256 of every file is verified, its declared dependencies are checked
against what is installed, and its licence is found; the three join into a verdict. Where files were changed, the
workflow waits for somebody's approval.

    celery -A verify_environment worker         the workers
    hephaestus-celery demo                      the whole thing: server, workers, client
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from celery import Celery
from packaging.requirements import InvalidRequirement, Requirement

from hephaestus_celery import (
    Context,
    Done,
    Hephaestus,
    Instance,
    NonRetryableError,
    Ok,
    Step,
    Unique,
    WaitForEvent,
    Workflow,
    telemetry,
)

app = Celery("verify_environment", broker=os.environ.get("HEPHAESTUS_BROKER", "redis://localhost:6379/0"))
app.conf.broker_connection_retry_on_startup = True
app.conf.update(json.loads(os.environ.get("VERIFY_SETTINGS", "{}")))  # the demo's --chaos has no time for the defaults
hephaestus = Hephaestus(app)

SHOWN = 5
"""How many names of a list a step's result holds; a result is stored, so it is kept small."""


class ReadRecord(Step):
    """Reads the list of files that the installer wrote; a distribution of the system's packages may have none."""

    events = ("read", "absent")

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        files = read_record(context.initial["folder"])
        if files is None:
            return Ok("absent")
        return Ok("read", {"files": len(files), "with_hash": sum(1 for file in files if file.digest)})


class VerifyFiles(Step):
    """Computes the hash of every file that has one in RECORD."""

    events = ("verified",)

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        root = Path(context.initial["folder"]).parent
        files = [file for file in read_record(context.initial["folder"]) or () if file.digest]
        changed = [file.path for file in files if digest_of(root / file.path, file.algorithm) != file.digest]
        return Ok("verified", {"verified": len(files), "changed": len(changed), "names": changed[:SHOWN]})


class CheckDependencies(Step):
    """Compares what the distribution says it needs with what is installed."""

    events = ("checked",)

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        needed = metadata.Distribution.at(context.initial["folder"]).requires or []
        unmet = [requirement for requirement in needed if not is_met(requirement)]
        return Ok("checked", {"declared": len(needed), "unmet": len(unmet), "names": unmet[:SHOWN]})


class FindLicence(Step):
    """Finds the licence: in the metadata's own field, among the classifiers, or in the first line of the old field."""

    events = ("found", "unknown")

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        fields = metadata.Distribution.at(context.initial["folder"]).metadata
        classifiers = [line.rpartition(" :: ")[2] for line in fields.get_all("Classifier", []) if "License ::" in line]
        texts = [*fields.get_all("License-Expression", []), " and ".join(classifiers), *fields.get_all("License", [])]
        licence = next((text.strip().splitlines()[0][:60] for text in texts if text.strip()), None)
        return Ok("found", {"licence": licence}) if licence else Ok("unknown")


class Judge(Step):
    """Joins the branches; those that could not run for want of a RECORD are not waited for."""

    events = ("sound", "suspicious")

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        files = context.steps.get("verify_files", {"verified": 0, "changed": 0})
        unmet = context.steps["check_dependencies"]["unmet"]
        remarks = [
            f"{files['verified']} files verified" if "verify_files" in context.steps else "no RECORD to verify",
            f"{files['changed']} changed" if files["changed"] else "",
            f"{unmet} dependencies unmet" if unmet else "",
            context.steps["find_licence"].get("licence", "no licence found"),
        ]
        verdict = ", ".join(remark for remark in remarks if remark)
        return Ok("suspicious" if files["changed"] else "sound", {"verdict": verdict})


class Accept(Step):
    """Notes who approved of the changes."""

    events = ("accepted",)

    def execute(self, instance: Instance, config: object, context: Context) -> Ok:
        return Ok("accepted", {"verdict": f"approved by {context.steps['approval']['by']}"})


Approval = WaitForEvent.named("approval")


class VerifyDistribution(Workflow):
    name = "verify.distribution"
    unique = Unique("distribution")
    initial_step = ReadRecord
    transitions = {
        (ReadRecord, "read"): [VerifyFiles, CheckDependencies, FindLicence],
        (ReadRecord, "absent"): [CheckDependencies, FindLicence],
        (VerifyFiles, "verified"): Judge,
        (CheckDependencies, "checked"): Judge,
        (FindLicence, "found"): Judge,
        (FindLicence, "unknown"): Judge,
        (Judge, "sound"): Done,
        (Judge, "suspicious"): (Approval, {"event_name": "approval"}),
        (Approval, "received"): Accept,
        (Accept, "accepted"): Done,
    }


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A line of RECORD; ``digest`` is empty where the installer could not know it (RECORD itself, compiled files)."""

    path: str
    algorithm: str
    digest: str


def read_record(folder: str) -> list[RecordedFile] | None:
    """The files of a distribution, None where it has no RECORD; ``NonRetryableError`` where it can't be read."""
    path = Path(folder) / "RECORD"
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.reader(lines, strict=True) if row]
        return [RecordedFile(name, *hashed.partition("=")[::2]) for name, hashed, _ in rows]
    except (FileNotFoundError, NotADirectoryError):  # old metadata may be a single file
        return None
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not UTF-8, or not three fields
        # It will be no better in a second: the remaining attempts are skipped.
        raise NonRetryableError(f"RECORD can't be read: {error}") from error


def digest_of(path: Path, algorithm: str) -> str | None:
    """The hash of a file as RECORD writes it, None where the file is not there."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, algorithm).digest()
    except OSError:
        return None
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_met(line: str) -> bool:
    """Whether a requirement applies here and is installed in a version that it allows, or does not apply."""
    try:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            return True
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except (InvalidRequirement, metadata.PackageNotFoundError):
        return False


def installed() -> dict[str, str]:
    """The distributions of this environment: names that can identify an instance, and the folders of their metadata.

    Of two with one name the first on the path counts, as it does for ``import``.
    """
    folders: dict[str, Path] = {}
    for folder in _metadata_folders():
        folders.setdefault(folder.stem.partition("-")[0].lower(), folder)
    named: dict[str, str] = {}
    for name, folder in folders.items():
        value = plain = re.sub(r"[^a-z0-9]", "", name) or "unnamed"
        number = 2
        while value in named:  # foo_bar and foobar are two distributions
            value, number = f"{plain}{number}", number + 1
        named[value] = str(folder)
    return named


def _metadata_folders() -> Iterator[Path]:
    for entry in dict.fromkeys(sys.path):
        path = Path(entry or ".").absolute()
        if path.is_dir():
            found = sorted([*path.glob("*.dist-info"), *path.glob("*.egg-info")])
            yield from (folder for folder in found if _is_whole(folder))


def _is_whole(folder: Path) -> bool:
    # What an interrupted installation has left behind lacks the metadata itself. Old metadata may be a single file.
    return folder.is_file() or any((folder / name).is_file() for name in ("METADATA", "PKG-INFO"))


def note_event(event: telemetry.EventName, _measurements: dict[str, Any], facts: dict[str, Any], folder: Any) -> None:
    """Append the event to this process's file. One write for a line: what a killed process has written is whole."""
    known = {
        "instance": "instance_id",
        "run": "run_id",
        "sequence": "sequence",
        "step": "step_key",
        "reason": "reason",
    }
    line = {"event": ".".join(event), **{name: facts.get(fact) for name, fact in known.items()}}
    name = f"{socket.gethostname()}-{os.getpid()}.jsonl"
    file = os.open(Path(folder) / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, json.dumps(line, default=str).encode() + b"\n")
    finally:
        os.close(file)


if "VERIFY_EVENTS" in os.environ:  # a folder, in which every worker process notes the events that it saw
    Path(os.environ["VERIFY_EVENTS"]).mkdir(exist_ok=True)
    noted = [*telemetry.events(), *telemetry.extension_events()]
    telemetry.attach_many("verify_environment", noted, note_event, os.environ["VERIFY_EVENTS"])
