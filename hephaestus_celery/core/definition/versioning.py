"""Versions of a workflow (an umbrella): each run stays on the version that it was started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from weakref import WeakSet

from hephaestus_celery.core.definition import validation
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.run_result import gives_result
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.identity import Unique

WorkflowClass = type[WorkflowDefinition]

UNNAMED: WeakSet[WorkflowClass] = WeakSet()
"""The workflows without a ``name`` of their own: they are named for their place in the code."""


def check_umbrella(umbrella: WorkflowClass) -> list[str]:
    """What is wrong with an umbrella, a sentence each."""
    own = umbrella.__dict__
    problems = list(validation.check_options(umbrella))
    if "version" in own:
        problems.append("version together with versions: an umbrella has versions and current only")
    problems.extend(
        f"{name} together with versions: the versions have the steps"
        for name in ("initial_step", "transitions", "compensations")
        if name in own
    )
    if "deadline" in own:
        problems.append("deadline together with versions: each version has its own")
    if gives_result(umbrella):
        problems.append("result together with versions: each version has its own")
    unique: object = getattr(umbrella, "unique", None)
    if not isinstance(unique, Unique):
        problems.append("unique is missing: declare unique = Unique('key')")
    versions: object = own["versions"]
    if not isinstance(versions, Mapping):
        return [*problems, f"versions must be a mapping of version numbers to workflows, not {shown(versions)}"]
    if not versions:
        return [*problems, "versions is empty: an umbrella needs one workflow at least"]
    for key, member in umbrella.versions.items():
        problems.extend(_check_member(umbrella, key, member))
    members = list(umbrella.versions.values())
    if len({id(member) for member in members}) < len(members):
        problems.append("versions names a workflow twice")
    current: object = getattr(umbrella, "current", None)
    if isinstance(current, bool) or not isinstance(current, int) or current not in umbrella.versions:
        known = listed([str(key) for key in umbrella.versions])
        problems.append(f"current is {shown(current)}, which is none of the versions ({known})")
    return problems


def _check_member(umbrella: WorkflowClass, key: object, member: object) -> list[str]:
    problems: list[str] = []
    if isinstance(key, bool) or not isinstance(key, int) or key < 1:
        problems.append(f"versions has the key {shown(key)}; version numbers are positive ints")
    if not (isinstance(member, type) and issubclass(member, WorkflowDefinition)):
        return [*problems, f"version {shown(key)} is {shown(cast('object', member))}, which is no workflow"]
    if member.versions:
        problems.append(f"version {shown(key)}, {member.__qualname__}, is an umbrella itself")
    own = member.__dict__.get("version")
    if own is not None and own != key:
        problems.append(f"version {shown(key)}, {member.__qualname__}, says of itself that it is version {shown(own)}")
    unique: object = getattr(member, "unique", None)
    if unique is not None and unique != getattr(umbrella, "unique", None):
        problems.append(
            f"version {shown(key)}, {member.__qualname__}, has a unique of its own, {shown(unique)}; it inherits the umbrella's"
        )
    if member.family not in (member.name, umbrella.name):
        problems.append(f"version {shown(key)}, {member.__qualname__}, belongs to {member.family} already")
    return problems


def adopt(umbrella: WorkflowClass) -> None:
    """Make the members of a checked umbrella its versions."""
    for key, member in umbrella.versions.items():
        WORKFLOWS.discard(member)
        member.version = key
        member.unique = umbrella.unique
        member.family = umbrella.name
        if member.hephaestus is None:
            member.hephaestus = umbrella.hephaestus
        if member.__data_type__ is None:
            member.__data_type__ = umbrella.__data_type__
        WORKFLOWS.add(member)
    umbrella.version = umbrella.current
    umbrella.graph = umbrella.versions[umbrella.current].graph


def left_behind(workflow: WorkflowClass) -> str | None:
    """A warning about a first version that has another name than its umbrella by default; None if there is no problem.

    A workflow without a version is stored as version 1 of its name. When it becomes an umbrella, its active runs are still
    stored under that name, and only a version 1 with that name can go on with them.
    """
    own_family = workflow.family == workflow.name
    if own_family or workflow.version != 1 or workflow not in UNNAMED:
        return None
    return (
        f"version 1 of {workflow.family} is stored under the name {workflow.name!r}: runs that were started when "
        f"{workflow.family} had no versions yet are not found by it, and stay where they are. If there may be any, give "
        f"{workflow.__qualname__} name = {workflow.family!r}; if not, name = {workflow.name!r} says so"
    )


def resolve(workflow: WorkflowClass, *, version: int | None, options: Mapping[str, Any]) -> WorkflowClass:
    """The workflow that a new instance runs: the version asked for, else what ``version_for`` says, else ``current``.

    Raises ``ValueError`` naming the known versions for an unknown one.
    """
    known = dict(workflow.versions) or {workflow.version: workflow}
    wanted: object = version
    if wanted is None and workflow.versions:
        wanted = workflow.version_for(workflow.versions, options)
    if wanted is None:
        wanted = workflow.current if workflow.versions else workflow.version
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted not in known:
        raise ValueError(
            f"{workflow.__qualname__} has no version {shown(wanted)}; known: {listed([str(key) for key in sorted(known)])}"
        )
    return known[wanted]
