"""Resolving an id: finds the run that is meant, the active one or else the newest.

Every store goes by this rule. Mirrored by ``storage/redis/lua/parts/resolve.lua``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReference:
    """Names a run by its run id, or by an instance id: then it is the active run of that id, else the newest.

    If ``family`` is given, only its runs count. ``version`` is the version that the caller means. With ``exact``, runs of
    other versions do not count; otherwise the version only decides between several active runs.
    """

    id: str
    family: str | None = None
    version: int | None = None
    exact: bool = False

    def admits(self, *, family: str, version: int) -> bool:
        """Whether a run of this workflow counts."""
        return self.family in (None, family) and not (self.exact and version != self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The runs that an instance id may mean: the active ones, with their ``versions``, and the newest of all."""

    active: Sequence[str]
    newest: str | None
    versions: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The run that is meant; None if there is no such run, or if it may be one of ``several`` active runs."""

    run_id: str | None
    several: Sequence[str] = ()


def resolve(reference: RunReference, candidates: Candidates) -> Resolution:
    """The run that a reference by an instance id means, among those that count."""
    meant = candidates.active
    if reference.version is not None and len(meant) > 1:
        meant = [run_id for run_id in meant if candidates.versions.get(run_id) == reference.version]
    if len(meant) > 1:
        return Resolution(run_id=None, several=meant)
    return Resolution(run_id=meant[0] if meant else candidates.newest)
