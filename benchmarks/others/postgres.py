"""A private PostgreSQL server, with the durability that it has by default: every commit is on disk when it is answered."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS, STOP_SECONDS = 30.0, 10.0
_USER = "bench"


def find_postgres() -> Path | None:
    """The folder of its programs, where ``postgres`` is on the ``PATH`` and ``initdb`` beside it."""
    found = shutil.which("postgres")
    folder = None if found is None else Path(found).resolve().parent
    return folder if folder is not None and (folder / "initdb").exists() else None


@contextmanager
def postgres(*, database: str) -> Generator[str]:
    """The URL of a database on a server of one's own that listens on a unix socket while the block runs."""
    programs = find_postgres()
    if programs is None:
        raise FileNotFoundError("there is no postgres on the PATH")
    user = _unprivileged() if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    with tempfile.TemporaryDirectory(prefix="hephaestus-bench-", ignore_cleanup_errors=True) as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        _run([str(programs / "initdb"), "-D", data, "-A", "trust", "-U", _USER, "--no-sync"], folder, user)
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="],
            cwd=folder,
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=2,
        )
        try:
            _create(programs, folder, user, database)
            yield f"postgresql://{_USER}@/{database}?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown: it disconnects its clients
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _create(programs: Path, folder: str, user: str | None, database: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            _run([str(programs / "createdb"), "-h", folder, "-U", _USER, database], folder, user)
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _run(command: Sequence[str], folder: str, user: str | None) -> None:
    subprocess.run(command, cwd=folder, user=user, check=True, stdin=subprocess.DEVNULL, stdout=2)


def _unprivileged() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
