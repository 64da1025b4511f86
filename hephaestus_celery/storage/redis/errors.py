"""The text of a ``StorageError``: what an error of the server or the network means, and what to do about it."""

from __future__ import annotations

import re

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import DataError as RefusedHereError

from hephaestus_celery.exceptions import StorageError


class NoPrimaryError(RedisError):
    """No Sentinel names a primary that is up."""


class AllInUseError(RedisError):
    """All connections of this process are in use, and none was free in time."""

    sent = 0


class UnexpectedReplyError(RedisError):
    """The reply of the server does not fit the call."""


NOTHING_DONE = "nothing was done: bad"
"""The reply of scripts that refuse their parameters; see ``demand`` in ``lua/parts/arguments.lua``."""
_UNREACHED = "check that the server is up, and hephaestus_state_backend (where it is not set, the result backend or the broker is the store)"

_BY_CODE = {
    "OOM": "its memory is full: give it more (maxmemory), or shorten hephaestus_retention; it takes writes again as soon "
    "as there is room, and no run is lost until then",
    "READONLY": "it is a replica: hephaestus_state_backend must name the primary, or the Sentinels that know it",
    "MASTERDOWN": "it is a replica whose primary is away: hephaestus_state_backend must name the primary, or the "
    "Sentinels that know it",
    "LOADING": "it has just started and reads its data; wait",
    "NOAUTH": "the user or the password in hephaestus_state_backend (redis://user:password@host) is missing or wrong",
    "NOPERM": "its user lacks a right: a script that was stopped so may have been half applied. The rights that it "
    "needs are listed in the guide on deploying (docs/deploying.md)",
    "MISCONF": "it can't save to its disk and takes no writes until it can",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write asks for, and takes no writes until it has them",
    "BUSY": "somebody's script keeps it busy; wait, or end that script with SCRIPT KILL",
    "CLUSTERDOWN": "it is part of a Redis Cluster that is not complete, and answers when that is",
    "MOVED": "it is part of a Redis Cluster, and has only some of the keys; name a server that has them all",
}
_BY_CLASS: dict[type[RedisError], str] = {
    AuthenticationError: "NOAUTH",
    BusyLoadingError: "LOADING",
    MasterDownError: "MASTERDOWN",  # before the class that it derives from
    ClusterDownError: "CLUSTERDOWN",
    MovedError: "MOVED",
    NoPermissionError: "NOPERM",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
}
# Redis 6.2 wraps the refusal of a script in an error of its own; some codes have no class.
_CODE = re.compile(rf"(?<![A-Z])({'|'.join(_BY_CODE)}) ")
_RIGHTS = re.compile(r"ACL failure in script|The user executing the script can't")
# For a server at host:port, an error about a missing file is about a certificate that the client should present.
_CERTIFICATE = re.compile(r"\[SSL|_ssl\.c|:\d+\. (No such file|Permission denied|Is a directory)")


def is_transient(error: RedisError) -> bool:
    """Whether the same call may succeed later.

    It may if the server is out of reach, or if its present state makes it refuse all calls: these are the known codes. Any
    other reply (``ERR``, ``WRONGTYPE``) is about this call alone.
    """
    return not isinstance(error, (ResponseError, RefusedHereError)) or code_of(error) is not None


def was_not_done(error: RedisError) -> bool:
    """Whether a script certainly did nothing: it was never sent (see ``Connections.call``), or its only reply refuses it.

    A missing permission or a key of the wrong type may show only in the middle of a script.
    """
    sent: int = getattr(error, "sent", 1)
    if sent != 1 or not isinstance(error, ResponseError):
        return sent == 0
    return NOTHING_DONE in str(error) or code_of(error) not in (None, "NOPERM")


def was_not_made(error: StorageError) -> bool:
    """Whether the call that this is the error of was certainly not made.

    An error without a cause comes from the script itself: it refused a call that arrived too late.
    """
    return not isinstance(error.__cause__, RedisError) or was_not_done(error.__cause__)


def code_of(error: RedisError) -> str | None:
    """The known code of a refusal (``OOM``, ``READONLY`` ...), also of one inside a script."""
    for kind, code in _BY_CLASS.items():
        if isinstance(error, kind):
            return code
    found = _CODE.search(str(error))
    if found is not None:
        return found[1]
    return "NOPERM" if _RIGHTS.search(str(error)) else None


def explain(error: RedisError) -> str:
    """One sentence for the operator of the server: what happened, and what to do."""
    reason = f"{type(error).__name__}: {error}"
    code = code_of(error)
    if code is not None:
        return f"the state store refused ({reason}); {_BY_CODE[code]}"
    own = _own(error)
    if own is not None:
        return own
    if isinstance(error, ResponseError):
        return f"the state store refused ({reason})"
    if _CERTIFICATE.search(str(error)):
        return (
            f"the state store did not answer ({reason}); check the certificates that hephaestus_state_backend or "
            "hephaestus_state_options name (ssl_ca_certs, ssl_certfile, ssl_keyfile), and what they are for"
        )
    return f"the state store did not answer ({reason}); {_UNREACHED}"


def _own(error: RedisError) -> str | None:
    if isinstance(error, NoPrimaryError):
        return (
            f"the state store is out of reach: {error}. A failover takes some seconds; otherwise check the Sentinels that "
            "hephaestus_state_backend names, and master_name and sentinel_kwargs (their own password and certificates) "
            "in hephaestus_state_options"
        )
    if isinstance(error, AllInUseError):
        return (
            f"the state store was not asked: {error}, and none came back within hephaestus_state_timeout. Either it answers "
            "slowly, or this process makes more calls at a time; max_connections in hephaestus_state_options allows more"
        )
    if isinstance(error, UnexpectedReplyError):
        return f"the state store can't be understood: {error}; that connection is closed"
    return None
