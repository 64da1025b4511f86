"""On what the nodes of `celery_setup` run: containers, local processes, or one after the other on both."""

from __future__ import annotations

import os
import socket
from typing import Literal

import docker
import pytest
from docker.errors import DockerException
from docker.utils import parse_host

Kind = Literal["containers", "processes"]

OPTION = "--nodes"
VARIABLE = "HEPHAESTUS_TEST_NODES"
UNIX = "http+unix://"
ANSWER_SECONDS = 5


def choose(asked: str, *, ci: bool, engine: bool) -> tuple[Kind, ...]:
    """The kinds of nodes to test on; ``auto`` means containers where an engine answers, in CI processes as well."""
    match asked:
        case "containers" | "processes":
            return (asked,)
        case "both":
            return ("containers", "processes")
        case "auto" if not engine:
            return ("processes",)
        case "auto":
            return ("containers", "processes") if ci else ("containers",)
        case _:
            raise pytest.UsageError(f"{OPTION} ({VARIABLE}) is auto, containers, processes or both, not {asked!r}")


def why_no_engine() -> str | None:
    """Why no Docker engine of this machine can be used; None where one can.

    Only an engine behind a unix socket counts: the containers share folders and a port of 127.0.0.1 with the tests.
    """
    given = os.environ.get("DOCKER_HOST") or None
    try:
        address = parse_host(given)
        if not address.startswith(UNIX):
            return f"DOCKER_HOST is {given}, and only an engine of this machine, behind a unix socket, is of use"
        # The Docker client leaves its socket open where nobody listens, and warnings are errors here.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(address.removeprefix(UNIX))
        docker.from_env(timeout=ANSWER_SECONDS).close()  # asks the engine for its version
    except (OSError, DockerException) as error:
        return f"no Docker engine answers at {given or 'the default address'}: {error}"
    return None
