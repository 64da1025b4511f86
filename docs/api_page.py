"""The page of the public interface: every public name, grouped by what one does with it, printed from its code."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import takewhile
from types import ModuleType
from typing import Any, ForwardRef, get_overloads

import hephaestus_celery as api
from hephaestus_celery import exceptions, logs, telemetry, testing
from hephaestus_celery.client.aio import AioHephaestus
from hephaestus_celery.client.calls import HandleCalls, RuntimeCalls, WorkflowCalls
from hephaestus_celery.client.events import AioEvents
from hephaestus_celery.client.facade import AioWorkflow
from hephaestus_celery.client.handle import AioHandle
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.declared import DeclaredStep, DeclaredWorkflow
from hephaestus_celery.runners import attempt, hooks
from hephaestus_celery.telemetry import log_handler, metrics

WIDTH = 100
"""Characters of a signature that stands in one line."""

CONTENTS = "The names"
"""The heading of the table on top of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A chapter of the page: names that are used together, what for, and an example that is run."""

    title: str
    about: str
    names: tuple[str, ...]
    example: str = ""


_ASIDE = {"step": ", the decorator"}
"""What tells the heading of a name from another that differs in capitals only."""

GROUPS = (
    Group(
        title="Declare a workflow",
        about="A workflow is a class, and so is each of its steps; defining the class checks it. "
        "More: [what a workflow can do](../guides/workflows.md), [rules and limits](../guides/definitions.md), "
        "[versions](../guides/versions.md).",
        names=("Workflow", "Step", "step", "task_step", "Unique", "RetryPolicy", "route", "FAILED"),
        example="""
```python
from hephaestus_celery import Done, Hephaestus, Ok, RetryPolicy, Step, Unique, Workflow, telemetry


class Weigh(Step):
    events = ("weighed",)
    retry = RetryPolicy(max_attempts=3, base=0.1)

    def execute(self, instance, config, context):
        return Ok("weighed", {"kilos": context.initial["kilos"]})


class Sending(Workflow):
    unique = Unique("sending")
    initial_step = Weigh
    transitions = {(Weigh, "weighed"): Done}
```
""",
    ),
    Group(
        title="Steps that come with the package",
        about="They stand in a workflow as steps of your own do. More: [waiting](../guides/workflows.md#waiting).",
        names=("Done", "Wait", "WaitForEvent", "Debug"),
    ),
    Group(
        title="What a step returns",
        about="`execute` returns one of these; raising an exception fails the attempt. "
        "More: [steps](../guides/workflows.md#steps), [when things fail](../guides/failures.md).",
        names=("Ok", "Async", "Again", "Error"),
    ),
    Group(
        title="Run workflows",
        about="One `Hephaestus` in a process runs its workflows. A start gives a handle. "
        "More: [in your project](../guides/projects.md), [starting, looking, ending]"
        "(../guides/workflows.md#starting-looking-ending), [events from outside](../guides/resuming.md).",
        names=("Hephaestus", "InstanceHandle"),
        example="""
```python
hephaestus = Hephaestus()  # Hephaestus(app) runs the steps on the workers of a Celery application
handle = Sending.start("s1", {"kilos": 5})
instance = handle.wait(timeout=10)
print(instance.status)
```

```text
completed
```
""",
    ),
    Group(
        title="What you get back",
        about="All of these are snapshots: they do not change when the run goes on.",
        names=(
            "Instance",
            "StepStanding",
            "Context",
            "Status",
            "Failure",
            "HistoryEntry",
            "Page",
            "CancelReport",
            "BulkResult",
        ),
        example="""
```python
print(instance.id, instance.context.steps["weigh"])
for entry in handle.history():
    print(entry.step, entry.attempt, entry.outcome)
print([found.id for found in hephaestus.list(status="completed")])
```

```text
sending::s1 {'kilos': 5}
weigh 1 completed
done 1 completed
['sending::s1']
```
""",
    ),
    Group(
        title="Run workflows from an event loop",
        about="`hephaestus.aio`, `OrderFlow.aio` and `handle.aio` have every call as a coroutine. The package makes these "
        "objects, so it exports none of these names. More: [asyncio](../guides/asyncio.md).",
        names=("AioHephaestus", "AioWorkflow", "AioHandle", "AioEvents"),
        example="""
```python
import asyncio


async def send():
    async with hephaestus.aio:
        handle = await Sending.aio.start("s4", {"kilos": 3})
        return await handle.aio.wait(timeout=10)


print(asyncio.run(send()).status)
```

```text
completed
```
""",
    ),
    Group(
        title="Choose where it runs",
        about="`Hephaestus(app)` makes a `CeleryRunner` and a `RedisStorage`, `Hephaestus()` a `LocalRunner` and a "
        "`MemoryStorage`. Pass one of your own to replace it: [write your own](../guides/extending.md). "
        "All settings with their defaults: [settings](settings.md).",
        names=("CeleryRunner", "LocalRunner", "RedisStorage", "MemoryStorage", "Settings"),
    ),
    Group(
        title="Run code around each step",
        about="`hephaestus.hooks` is the `Hooks` of a runtime. A hook around attempts gets a `HeldAttempt`; a hook of starts "
        "gets the headers of the run. The package makes these objects, so it exports none of these names. "
        "More: [code around each step](../guides/hooks.md).",
        names=("Hooks", "HeldAttempt", "Worker", "AttemptHook", "StartHook"),
        example="""
```python
from contextlib import contextmanager

executed = []


@hephaestus.hooks.on_start
def carry_tenant(headers):
    headers["tenant"] = "acme"


@hephaestus.hooks.around_attempt
@contextmanager
def note(attempt):
    executed.append((attempt.step.key, attempt.number, attempt.headers["tenant"]))
    yield


Sending.start("s3", {"kilos": 2}).wait(timeout=10)
print(executed)
```

```text
[('weigh', 1, 'acme')]
```
""",
    ),
    Group(
        title="Watch runs",
        about="A handler is a function that is called for each event it is attached to. "
        "More: [watching runs](../guides/telemetry.md); each event with its fields: [events](events.md).",
        names=(
            "telemetry",
            "telemetry.attach",
            "telemetry.attach_many",
            "telemetry.detach",
            "telemetry.list_handlers",
            "telemetry.Handler",
            "telemetry.log_handler.attach",
            "telemetry.log_handler.detach",
            "telemetry.metrics.metrics",
            "telemetry.metrics.MetricDefinition",
            "logs.ContextFilter",
            "logs.context",
            "telemetry.events",
            "telemetry.extension_events",
            "telemetry.execute",
            "telemetry.span",
            "telemetry.Emitter",
            "telemetry.AlreadyAttachedError",
            "telemetry.NotAttachedError",
        ),
        example="""
```python
ended = []


def remember(event, measurements, metadata, config):
    ended.append(metadata["instance_id"])


telemetry.attach("remember", telemetry.workflow_stop_event(), remember)
Sending.start("s2", {"kilos": 1}).wait(timeout=10)
telemetry.detach("remember")
print(ended)
hephaestus.close()
```

```text
['sending::s2']
```
""",
    ),
    Group(
        title="Test workflows",
        about="In `hephaestus_celery.testing`. More: [testing workflows](../guides/testing.md). The suites for storages and "
        "runners of your own are in `hephaestus_celery.testing.conformance`: [write your own](../guides/extending.md).",
        names=("testing.EventCapture", "testing.CapturedEvent"),
    ),
)

_FOUND: dict[str, Any] = {
    **{name: getattr(api, name) for name in api.__all__},
    **{f"telemetry.{name}": getattr(telemetry, name) for name in telemetry.__all__},
    **{f"telemetry.log_handler.{name}": getattr(log_handler, name) for name in ("attach", "detach")},
    **{f"telemetry.metrics.{name}": getattr(metrics, name) for name in ("metrics", "MetricDefinition")},
    **{f"logs.{name}": getattr(logs, name) for name in ("ContextFilter", "context")},
    **{f"testing.{name}": getattr(testing, name) for name in testing.__all__},
    **{name: getattr(hooks, name) for name in ("Hooks", "AttemptHook", "StartHook")},
    **{name: getattr(attempt, name) for name in ("HeldAttempt", "Worker")},
    **{found.__name__: found for found in (AioHephaestus, AioWorkflow, AioHandle, AioEvents)},
}
_SHOWN = {
    "Hooks": ("around_attempt", "on_start"),
    "HeldAttempt": ("instance", "step", "number", "max_attempts", "headers", "worker"),
    "Worker": ("hostname", "task_id", "time_limit"),
    "AioHephaestus": ("close",),
    "AioWorkflow": (),
    "AioHandle": (),
    "AioEvents": ("close",),
}
"""The public members and fields of classes that only the package makes; their constructors and the rest have no entry."""
_TWINS = {"AioHephaestus": "Hephaestus", "AioWorkflow": "Workflow", "AioHandle": "InstanceHandle"}
"""Classes whose coroutines are described where the calls of the same names are."""
_CALLS = (RuntimeCalls, WorkflowCalls, HandleCalls)
_BASES = (DeclaredStep, DeclaredWorkflow, WorkflowDefinition)
_ERRORS = {name for name, found in vars(exceptions).items() if inspect.isclass(found)}


def render() -> str:
    """The whole page."""
    groups = [*GROUPS, _types()]
    lines = [
        "# The public interface",
        "",
        "Every name that `hephaestus_celery` exports, with its signature and what a caller can rely on. A name of this page",
        "is removed or changed in a release that says so only. What is not on it may change at any time. Errors have",
        "[a page of their own](errors.md).",
        "",
        f"## {CONTENTS}",
        "",
        "| to | names |",
        "| --- | --- |",
        *(f"| [{group.title}](#{anchor(group.title)}) | {_row(group)} |" for group in groups if group.names),
    ]
    for group in groups:
        if group.names:
            lines += ["", f"## {group.title}", "", group.about, *group.example.rstrip().splitlines()]
            for name in group.names:
                lines += ["", *_entry(name)]
    return "\n".join(lines).rstrip() + "\n"


def raised_by(error: str) -> list[str]:
    """The public names, in the order of the page, whose text names this error."""
    named = [name for group in GROUPS for name in group.names if name not in _ERRORS]
    members = [
        f"{name}.{member}"
        for name in named
        if inspect.isclass(_FOUND[name])
        for member in _members(_FOUND[name])
        if f"{name}.{member}" in _headings()
    ]
    texts = {name: _FOUND[name].__doc__ for name in named if name != "telemetry"}
    texts |= {
        member: _members(_FOUND[member.rpartition(".")[0]])[member.rpartition(".")[2]].__doc__ for member in members
    }
    return [name for name, text in texts.items() if re.search(rf"\b{error}\b", text or "")]


def _types() -> Group:
    """What stands in no other chapter: the types that annotations name."""
    listed = {name for group in GROUPS for name in group.names}
    rest = [name for name in api.__all__ if name not in listed and name not in _ERRORS]
    return Group(
        title="Types for annotations",
        about="What signatures of this page name; you need them to annotate code of your own.",
        names=tuple(rest),
    )


def _row(group: Group) -> str:
    return ", ".join(f"[`{name}`](#{anchor(name)})" for name in group.names)


def _entry(name: str) -> Iterator[str]:
    found = _FOUND[name]
    yield f"### `{name}`{_ASIDE.get(name, '')}"
    yield ""
    if isinstance(found, ModuleType):
        yield from _module(found)
    elif inspect.isclass(found):
        yield from _class(name, found)
    elif inspect.isfunction(found):
        yield from _function(name, found, called=f"@{name}" if name in ("route", "step") else name)
    else:
        yield from _alias(name, found)


def _module(module: ModuleType) -> Iterator[str]:
    yield from _prose(module, own="telemetry")
    yield ""
    yield "| event | its name, for `attach` | emitted by, for runners of your own |"
    yield "| --- | --- | --- |"
    for event in (*telemetry.events(), *telemetry.extension_events()):
        short = "_".join(event[1:])
        accessor = f"`telemetry.{short}_event()`" if f"{short}_event" in telemetry.__all__ else f"`{event!r}`"
        yield f"| [`{'.'.join(event)}`](events.md#{''.join(event)}) | {accessor} | `telemetry.{short}` |"


def _class(name: str, found: type) -> Iterator[str]:
    short = name.rpartition(".")[2]
    if name in _SHOWN:
        yield _linked(_clean(inspect.cleandoc(found.__doc__ or "").partition("\n\n")[0]), own=name)
    else:
        if "__init__" in vars(found) and not issubclass(found, (Enum, BaseException)):
            yield from _block(_signature(short, found.__init__, returns=False))
        yield from _prose(found, own=name)
    if name in _TWINS:
        yield from _twins(name, found, of=_TWINS[name])
    if issubclass(found, Enum):
        yield ""
        yield from (f"- `{member.value}`" for member in found)
        return
    if issubclass(found, BaseException):
        return
    fields = [] if found is api.Settings else [field for field in _fields(found) if _is_shown(name, field[0])]
    if fields:
        described = any(text for _, _, text in fields)
        yield ""
        yield "| field | type | meaning |" if described else "| field | type |"
        yield "| --- | --- | --- |" if described else "| --- | --- |"
        for field, kind, text in fields:
            cell = kind.replace("|", "\\|")
            yield f"| `{field}` | `{cell}` | {text} |" if described else f"| `{field}` | `{cell}` |"
    for member, value in _members(found).items():
        if not member.startswith("_") and found is not api.Settings:
            yield from _member(name, member, value)


def _twins(name: str, found: type, *, of: str) -> Iterator[str]:
    called = [call for call in dir(found) if f"{of}.{call}" in _headings() and call not in _SHOWN[name]]
    links = ", ".join(f"[`{call}`](#{anchor(f'{of}.{call}')})" for call in called)
    yield ""
    yield f"Coroutines, each of which does what the call of its name of `{of}` does: {links}."


def _owners(found: type) -> list[type]:
    """The classes whose members a public class has: its own, after those of bases that have no entry themselves."""
    bases = [*takewhile(lambda base: base not in _FOUND.values(), found.__mro__[1:])]
    topics = [base for base in bases if issubclass(base, _CALLS)]
    return [base for base in reversed(bases) if base in _BASES] + topics + [found]


@cache
def _members(found: type) -> dict[str, Any]:
    members = {name: value for owner in _owners(found) for name, value in vars(owner).items()}
    return {name: value for name, value in members.items() if _is_shown(found.__name__, name)}


def _is_shown(owner: str, member: str) -> bool:
    return owner not in _SHOWN or member in _SHOWN[owner]


def _member(owner: str, name: str, value: object) -> Iterator[str]:
    function = getattr(value, "__func__", value)
    qualified = f"{owner}.{name}"
    if not getattr(function, "__doc__", None):
        return
    if isinstance(value, property):
        yield from ("", f"#### `{qualified}`", "")
        kind = _plain(inspect.signature(value.fget).return_annotation) if value.fget else "Any"
        yield from _block(f"{owner.rpartition('.')[2]}.{name}: {kind}")
        yield from _prose(value, own=qualified)
    elif inspect.isfunction(function):
        yield from ("", f"#### `{qualified}`", "")
        yield from _function(qualified, function)


def _function(name: str, function: Callable[..., object], called: str | None = None) -> Iterator[str]:
    options = (get_overloads(function) or [function])[-1]  # the last one has all that may be given
    yield from _block(_signature(called or ".".join(name.split(".")[-2:]), options))
    yield from _prose(function, own=name)


def _alias(name: str, found: object) -> Iterator[str]:
    if isinstance(found, str):
        yield from _block(f'{name} = "{found}"')
        yield "A constant. The event of a step that has failed for good, for a transition that takes its failure:"
        yield "[a failure that leads somewhere](../guides/failures.md#a-failure-that-leads-somewhere)."
        return
    yield from _block(f"{name} = {_plain(str(found))}")
    yield "A type, for annotations."


def _block(code: str) -> Iterator[str]:
    yield "<!-- not run: a signature -->"
    yield "```python"
    yield from code.splitlines()
    yield "```"
    yield ""


def _fields(found: type) -> Iterator[tuple[str, str, str]]:
    """The declared fields of a class with their types, and the text that stands below each in its source."""
    annotations: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for owner in _owners(found):
        if issubclass(owner, _CALLS) and owner is not found:
            continue  # what the calls of a topic stand on
        own = {name: kind for name, kind in vars(owner).get("__annotations__", {}).items() if not name.startswith("_")}
        annotations |= own
        texts |= dict(_texts(owner)) if own else {}
    for name, kind in annotations.items():
        text = _linked(_clean(texts.get(name, "")), own="").replace("\n", " ").replace("|", "\\|")
        yield name, _plain(kind), text


def _texts(found: type) -> Iterator[tuple[str, str]]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(found))).body
    previous: ast.stmt | None = None
    for statement in body.body if isinstance(body, ast.ClassDef) else ():
        match previous, statement:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)
            case _:
                pass
        previous = statement


def _signature(called: str, function: Callable[..., object], *, returns: bool = True) -> str:
    signature = inspect.signature(function)
    shown = list(_parameters(signature.parameters.values()))
    kind = "" if not returns or signature.return_annotation is signature.empty else _plain(signature.return_annotation)
    arrow = f" -> {kind}" if kind else ""
    line = f"{called}({', '.join(shown)}){arrow}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{called}(", *(f"    {one}," for one in shown), f"){arrow}"])


def _parameters(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for parameter in parameters:
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_plain(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {'...' if '<' in repr(parameter.default) else _shown(parameter.default)}"
        yield text


def _shown(default: object) -> str:
    return repr(default).replace("datetime.", "")


def _plain(annotation: object) -> str:
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    text = re.sub(r"\b(builtins|collections\.abc|contextlib|typing|datetime|hephaestus_celery(?:\.\w+)+)\.", "", text)
    text = re.sub(r"\bStepClass\b", "type[Step]", text)
    text = re.sub(r"\b(DeclaredStep|Step|Workflow|Context)\[Any\]", r"\1", text)  # whatever its type
    text = re.sub(r"\bTypedWorkflow\[InputT\]", "Workflow[InputT]", text)
    text = re.sub(r"\bDeclared(Step|Workflow)\b", r"\1", text)  # as users name them
    text = re.sub(r"\bWorkflowDefinition\b", "Workflow", text)
    text = re.sub(r"\bRuntime\b", "Hephaestus", text)
    wrapped = re.fullmatch(r"ClassVar\[(.*)\]", text)
    return wrapped[1] if wrapped else text


def _clean(text: str) -> str:
    return re.sub(r":\w+:`[~.]*([^`]+)`", r"`\1`", text).replace("``", "`")


def _prose(described: object, *, own: str) -> Iterator[str]:
    """The docstring, with links to what it names."""
    yield _linked(_clean(inspect.cleandoc(described.__doc__ or "")), own=own)


def _linked(text: str, *, own: str) -> str:
    seen = {own, own.rpartition(".")[0]}

    def link(found: re.Match[str]) -> str:
        name = found[1].removesuffix("()")
        if name in seen or name in _ASIDE:  # `step` is a parameter of many calls
            return found[0]
        seen.add(name)
        if name in _ERRORS:
            return f"[`{found[1]}`](errors.md#{anchor(name)})"
        return f"[`{found[1]}`](#{anchor(name)})" if name in _headings() else found[0]

    return re.sub(r"(?<!\[)`([\w.]+(?:\(\))?)`", link, text)


@cache
def _headings() -> set[str]:
    grouped = {name for group in GROUPS for name in group.names}
    members = {
        f"{name}.{member}"
        for name in grouped
        if inspect.isclass(_FOUND[name])
        for member, value in _members(_FOUND[name]).items()
        if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, (classmethod, property)))
    }
    return grouped | {member for member in members if _documented(member)}


def _documented(member: str) -> bool:
    owner, _, name = member.rpartition(".")
    value = _members(_FOUND[owner])[name]
    return _FOUND[owner] is not api.Settings and bool(getattr(getattr(value, "__func__", value), "__doc__", None))


def anchor(heading: str) -> str:
    """What a link to this heading ends with."""
    return re.sub(r"[^\w -]", "", (heading + _ASIDE.get(heading, "")).lower()).replace(" ", "-")
