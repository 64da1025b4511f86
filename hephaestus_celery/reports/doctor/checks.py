"""The checks of the doctor: each is a pure function from facts to a finding."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hephaestus_celery.reports.doctor.findings import Facts, Finding, Level, StoreFacts
from hephaestus_celery.storage.examination import SchedulerFacts

_LEAST_VERSIONS: Mapping[str, tuple[int, ...]] = {"redis": (6, 2), "valkey": (7, 2)}
_FULL, _NEARLY_FULL = 0.95, 0.8
_CLOCK_SECONDS = 1.0
_SILENT_SECONDS, _LATE_SECONDS = 15.0, 15.0
_SHORT_VISIBILITY = 3600.0
_MUCH_PREFETCH = 16
_SHOWN = 5
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check: its name, what it is about, and how it judges. ``of_store``: it needs what the store says."""

    name: str
    about: str
    judge: Callable[[Facts], tuple[Level, str, str]] | None = None
    of_store: Callable[[StoreFacts, Facts], tuple[Level, str, str]] | None = None


def examine(facts: Facts) -> list[Finding]:
    """The findings of all checks, in the order of :data:`CHECKS`."""
    return [_finding(check, facts) for check in CHECKS]


def _finding(check: Check, facts: Facts) -> Finding:
    if check.judge is not None:
        level, message, advice = check.judge(facts)
    elif check.of_store is not None and isinstance(facts.store, StoreFacts):
        level, message, advice = check.of_store(facts.store, facts)
    else:
        level, message, advice = Level.WARNING, "not checked, since the store can't be asked", "mend the store first"
    return Finding(check=check.name, level=level, message=message, advice=advice)


def _ok(message: str) -> tuple[Level, str, str]:
    return Level.OK, message, ""


def _undescribed(what: str) -> tuple[Level, str, str]:
    return Level.WARNING, f"{what} can't be known: the user of the store may not ask", "grant it +info, for the doctor"


def _store(facts: Facts) -> tuple[Level, str, str]:
    if isinstance(facts.store, str):
        advice = "start it, or correct hephaestus_state_backend; until then runs stand still, and none is lost"
        return Level.ERROR, f"the store {facts.place} can't be asked: {facts.store}", advice
    return _ok(f"the store {facts.place} answers")


def _version(store: StoreFacts, _: Facts) -> tuple[Level, str, str]:
    server = store.server
    if not server.described:
        return _undescribed("its version")
    found = tuple(map(int, re.findall(r"\d+", server.version)[:2]))
    least = _LEAST_VERSIONS[server.software]
    needed = ".".join(map(str, least))
    if found < least:
        return Level.ERROR, f"{server.software} {server.version} is older than {needed}", f"use {needed} or newer"
    return _ok(f"{server.software} {server.version}")


def _persistence(store: StoreFacts, _: Facts) -> tuple[Level, str, str]:
    server = store.server
    if not server.described:
        return _undescribed("its persistence")
    if server.write_failure is not None:
        return Level.ERROR, f"the server can't write its data: {server.write_failure}", "look at its disk and its log"
    if not server.append_only:
        message = "the server keeps no append-only file: a restart takes runs back to its last snapshot, or loses them"
        return Level.WARNING, message, "set appendonly yes, appendfsync everysec"
    return _ok("the server keeps an append-only file")


def _eviction(store: StoreFacts, _: Facts) -> tuple[Level, str, str]:
    server = store.server
    if not server.described:
        return _undescribed("its eviction policy")
    if server.eviction_policy == "noeviction":
        return _ok("the server evicts nothing")
    advice = "set maxmemory-policy noeviction"
    if server.limit or server.evicted:
        gone = f", and has evicted {server.evicted:,} keys" if server.evicted else ""
        return Level.ERROR, f"the server evicts keys when it is full ({server.eviction_policy}){gone}", advice
    message = f"the server would evict keys ({server.eviction_policy}) if it had a limit of memory"
    return Level.WARNING, message, advice


def _memory(store: StoreFacts, _: Facts) -> tuple[Level, str, str]:
    server = store.server
    if not server.described:
        return _undescribed("its memory")
    limit = server.limit or server.machine
    whose = "its limit" if server.limit else "the memory of its machine"
    share = server.used / limit if limit else 0.0
    text = f"{server.used // _MIB:,} MiB are used, {share:.0%} of {whose} ({limit // _MIB:,} MiB)"
    advice = "give it more memory, or shorten hephaestus_retention"
    if share >= _FULL:
        return Level.ERROR, f"{text}: starts and commits are refused when it is full", advice
    if share >= _NEARLY_FULL:
        return Level.WARNING, text, advice
    return _ok(text)


def _clock(store: StoreFacts, _: Facts) -> tuple[Level, str, str]:
    apart = abs(store.server.ahead) - store.server.unsure
    word = "ahead of" if store.server.ahead > 0 else "behind"
    if apart > _CLOCK_SECONDS:
        message = f"the clock of the store is {abs(store.server.ahead):,.1f} s {word} that of this machine"
        return Level.WARNING, message, "set both by NTP: times that people read come from both, though no timer does"
    return _ok("the clocks of the store and of this machine agree")


def _broker(facts: Facts) -> tuple[Level, str, str]:
    broker = facts.broker
    if broker.failure is not None:
        advice = "start it, or correct broker_url; until then no step is sent, and none is lost"
        return Level.ERROR, f"the broker {broker.url} is out of reach: {broker.failure}", advice
    if not broker.is_store:
        return _ok(f"the broker {broker.url} answers; it is not the store, so messages are sent after each commit")
    if not broker.sends_by_store:
        message = f"the broker {broker.url} is the store, but the settings keep the store from sending messages itself"
        advice = (
            "leave hephaestus_transactional_dispatch on, and task_send_sent_event and task_inherit_parent_priority off"
        )
        return Level.WARNING, message, advice
    return _ok(f"the broker {broker.url} is the store, which sends messages itself")


def _queues(facts: Facts) -> tuple[Level, str, str]:
    if facts.broker.failure is not None:
        return Level.WARNING, "not checked, since the broker is out of reach", "mend the broker first"
    fleet, needed = facts.fleet, facts.step_queues
    consumed = {queue for queues in fleet.answering.values() for queue in queues}
    missing = sorted(needed.keys() - consumed - fleet.reported_queues)
    if missing:
        return _without_workers(facts, missing)
    silent = sorted(needed.keys() - consumed)
    if silent:
        message = f"workers of {_listed(silent)} have reported lately, and do not answer now"
        return Level.WARNING, message, "wait for a minute and ask again; a solo pool does not answer while it works"
    return _ok(f"workers take from all {len(needed)} queues of steps")


def _without_workers(facts: Facts, missing: Sequence[str]) -> tuple[Level, str, str]:
    waited = facts.store.waited if isinstance(facts.store, StoreFacts) else frozenset[str]()
    needed = [queue for queue in missing if queue in waited]
    steps = _listed(sorted(task for queue in needed or missing for task in facts.step_queues[queue]))
    advice = f"start a worker with -Q {','.join(missing)}"
    if needed:
        return Level.ERROR, f"no worker takes from {_listed(needed)}, where these steps wait: {steps}", advice
    message = f"no worker takes from {_listed(missing)}, to which these steps go: {steps}; none waits there now"
    return Level.WARNING, message, advice


def _versions(store: StoreFacts, facts: Facts) -> tuple[Level, str, str]:
    needed = {(name, version) for name, version, _ in store.runs.kinds}
    if not needed:
        return _ok("no run is active")
    if not facts.fleet.reports:
        message = f"no worker reports, and {store.runs.total:,} runs are active"
        return Level.ERROR, message, "start workers"
    known = facts.fleet.workflows
    missing = sorted((name, version) for name, version in needed if version not in known.get(name, ()))
    if not missing:
        return _ok(f"workers know all {len(needed)} versions that active runs need")
    text = _listed([f"{name} version {version}" for name, version in missing])
    if facts.fleet.silent:
        message = f"workers of an older release do not say whether they know {text}"
        return Level.WARNING, message, "deploy this release to all workers"
    return (
        Level.ERROR,
        f"no worker knows {text}, which active runs need",
        "deploy workers that still define it: a version may go when its last run has ended",
    )


def _scheduler(store: StoreFacts, facts: Facts) -> tuple[Level, str, str]:
    advice = f"start a worker, or `celery -A {facts.application} hephaestus scheduler`"
    for found in store.schedulers:
        where = f" in partition {found.partition}" if len(store.schedulers) > 1 else ""
        if found.owner is None or found.silent is None:
            return Level.ERROR, f"no scheduler is at work{where}: retries, timers and rescues stand still", advice
        if found.silent > _SILENT_SECONDS:
            message = f"the scheduler{where} was at work {found.silent:,.0f} s ago for the last time"
            return Level.ERROR, message, advice
        if found.overdue > _LATE_SECONDS:
            message = f"the scheduler{where} is {found.overdue:,.0f} s behind with {found.due:,} entries"
            return Level.WARNING, message, "look whether its store and broker are slow, or it has caught up in a minute"
    return _ok(f"{_schedulers(store.schedulers)} at work and on time")


def _schedulers(found: Sequence[SchedulerFacts]) -> str:
    return "a scheduler is" if len(found) == 1 else f"schedulers of all {len(found)} partitions are"


def _settings(facts: Facts) -> tuple[Level, str, str]:
    if facts.misspelt:
        return Level.ERROR, "; ".join(facts.misspelt), "correct the name: nobody reads this setting"
    return _ok("no setting is misspelt")


def _pace(facts: Facts) -> tuple[Level, str, str]:
    pace, found, advice = facts.pace, list[str](), list[str]()
    if pace.driver == "redis" and pace.visibility_timeout is not None and pace.visibility_timeout < _SHORT_VISIBILITY:
        found.append(f"visibility_timeout is {pace.visibility_timeout:g} s: steps that take longer are delivered again")
        advice.append("leave it at its default of an hour: lost steps are noticed by their leases")
    if pace.prefetch_multiplier == 0 or pace.prefetch_multiplier > _MUCH_PREFETCH:
        much = "without limit" if pace.prefetch_multiplier == 0 else f"{pace.prefetch_multiplier} for each process"
        found.append(f"workers take messages in advance {much}, and others wait behind them")
        advice.append("set worker_prefetch_multiplier to 1 for long steps, to 4 for short ones")
    if pace.driver == "redis" and pace.acks_emulated and not pace.other_tasks:
        found.append("the broker keeps a list of unacknowledged messages that no task of this application needs")
        advice.append(
            "start workers by `celery -A shop hephaestus worker`, which switches ack_emulation off where only steps "
            "are executed"
        )
    if pace.driver == "redis" and not pace.acks_emulated and pace.other_tasks:
        tasks = _listed(pace.other_tasks)
        found.append(f"ack_emulation is off, and messages of {tasks} are lost when a worker is killed")
        advice.append("leave it on for workers that execute such tasks")
    if found:
        return Level.WARNING, "; ".join(found), "; ".join(advice)
    return _ok("settings of messages cost no speed")


def _runs(store: StoreFacts, _: Facts) -> tuple[Level, str, str]:
    runs = store.runs
    of = "all" if runs.looked_at >= runs.total else f"{runs.looked_at:,} of"
    if runs.idle:
        message = f"{len(runs.idle)} active runs have work to do, and nothing of them is due: {_listed(runs.idle)}"
        return (
            Level.ERROR,
            message,
            "entries of the store were deleted or evicted; cancel these runs and start them again",
        )
    return _ok(f"something is due for each of {of} {runs.total:,} active runs that has work to do")


def _keys(store: StoreFacts, _: Facts) -> tuple[Level, str, str]:
    if store.keys is None:
        return Level.WARNING, "its keys can't be looked at: the user may not ask", "grant it +scan, for the doctor"
    some = "" if store.keys.complete else f" among the first {store.keys.looked_at:,}"
    if store.keys.strays:
        more = "" if len(store.keys.strays) < 1000 else "at least "  # noqa: PLR2004 - as many as are listed
        message = f"{more}{len(store.keys.strays)} keys have no lifetime, and no run owns them{some}"
        return Level.WARNING, f"{message}: {_listed(store.keys.strays)}", "delete them, if no other program uses them"
    return _ok(f"{store.keys.looked_at:,} keys were looked at: each has a lifetime, a run or a reason")


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


CHECKS: tuple[Check, ...] = (
    Check(name="store", about="the store answers", judge=_store),
    Check(name="version", about="its server is new enough", of_store=_version),
    Check(name="persistence", about="its server writes an append-only file, and can write", of_store=_persistence),
    Check(name="eviction", about="its server evicts no keys", of_store=_eviction),
    Check(name="memory", about="its server has memory left", of_store=_memory),
    Check(name="clock", about="its clock agrees with that of this machine", of_store=_clock),
    Check(name="broker", about="the broker answers; whether it is the store's own server", judge=_broker),
    Check(
        name="queues",
        about="some worker takes from the queue of each step; an error where steps wait for one",
        judge=_queues,
    ),
    Check(name="versions", about="workers know all versions that active runs need", of_store=_versions),
    Check(name="scheduler", about="a scheduler is at work and on time, in each partition", of_store=_scheduler),
    Check(name="settings", about="no setting of this package is unknown or misspelt", judge=_settings),
    Check(name="pace", about="visibility timeout, prefetch and acknowledgement cost no speed", judge=_pace),
    Check(name="runs", about="something is due for each active run that has work to do", of_store=_runs),
    Check(name="keys", about="each key has a lifetime, a run that owns it, or a reason", of_store=_keys),
)
"""All checks, in the order in which they are shown."""
