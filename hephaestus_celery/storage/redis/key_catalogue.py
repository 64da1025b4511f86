"""The catalogue of Redis keys: each kind with its type, lifetime and meaning; the reference page is printed from it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from hephaestus_celery.storage.redis import run_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyKind:
    """One kind of key, for the reference page and for a test: each key has a lifetime, or a reason to have none."""

    pattern: str
    type: str
    lifetime: str
    meaning: str


CATALOGUE: tuple[KeyKind, ...] = (
    KeyKind(
        pattern="run:<run_id>",
        type="hash",
        lifetime="`hephaestus_retention` after the end of the run",
        meaning="where the run stands and what it knows",
    ),
    KeyKind(
        pattern="start:<run_id>",
        type="string",
        lifetime="as the run",
        meaning="when the run began, in nanoseconds on the server's clock; written once",
    ),
    KeyKind(
        pattern="history:<run_id>",
        type="list",
        lifetime="as the run",
        meaning="one entry per attempt, resume and cancellation",
    ),
    KeyKind(
        pattern="rounds:<run_id>",
        type="hash",
        lifetime="as the run",
        meaning="of each step that has answered `Again` more than 100 times: the history entries of its last 100 rounds, by place and "
        "step, and one without a place for those before that are left out; absent where there is no such step",
    ),
    KeyKind(
        pattern="answers:<run_id>",
        type="hash",
        lifetime="one minute after the end of the run",
        meaning="the last reply to each step's worker, for a repetition of the same call",
    ),
    KeyKind(
        pattern="answer:<run_id>:<operation>",
        type="string",
        lifetime="one minute; one hour where a timer was taken back",
        meaning="the reply to the sender of an event or the setter of a timer, for a repetition of the same call",
    ),
    KeyKind(
        pattern="early:<run_id>",
        type="hash",
        lifetime="deleted with its last event, or when the run completes; of a run that failed or was cancelled, as the run",
        meaning="events that came before their steps waited, at most 100, in the order in which they came",
    ),
    KeyKind(
        pattern="taken:<run_id>",
        type="set",
        lifetime="as the run",
        meaning="the keys of the events that the run has taken (`resume(..., key=...)`), at most 10,000",
    ),
    KeyKind(
        pattern="waiting:<run_id>",
        type="hash",
        lifetime="deleted with its last entry, at the end of the run at the latest",
        meaning="the entries of the run in the indexes of what waits, for when the run itself is gone",
    ),
    KeyKind(
        pattern="owners:<run_id>",
        type="hash",
        lifetime="as the run",
        meaning="which step was given the event of a key (`taken`), or the number of the early event that has the key",
    ),
    KeyKind(
        pattern="copies:<run_id>",
        type="sorted set",
        lifetime="seven days after the last slice; an entry is deleted when its run is whole",
        meaning="the runs that are being copied from this one, which is kept until then",
    ),
    KeyKind(
        pattern="edges:<run_id>:<number>",
        type="list",
        lifetime="ten minutes until its step is committed; then until all of it is settled, some milliseconds later, or the run ends",
        meaning="the edges of a step that has more than 500, which are settled in slices; or what a retry or fork copies in slices",
    ),
    KeyKind(
        pattern="rows:<run_id>:<number>",
        type="hash",
        lifetime="the same",
        meaning="what settling these edges needs to know of the steps that they lead to",
    ),
    KeyKind(
        pattern="active:<id>",
        type="hash",
        lifetime="deleted with the last active run of the id",
        meaning="the active runs of an instance id: what makes an id unique",
    ),
    KeyKind(
        pattern="due",
        type="sorted set",
        lifetime="none: one per partition; an entry is deleted when its step moves on or its run is pruned",
        meaning="what is due when. Per step: its next attempt is sent, its lease expires, its wait is over. Per run: it is "
        "pruned, or checked once a day whether it still exists; the entry has all that pruning needs",
    ),
    KeyKind(
        pattern="parked:<run_id>",
        type="sorted set",
        lifetime="deleted when the run goes on, or at its end",
        meaning="steps of a paused run that want a worker, by the time since when they do",
    ),
    KeyKind(
        pattern="index:parked:<workflow>",
        type="sorted set",
        lifetime="deleted when the workflow goes on; an entry is deleted at the end of its run",
        meaning="runs of a paused workflow that have such steps, by the time of the first",
    ),
    KeyKind(
        pattern="releases",
        type="sorted set",
        lifetime="deleted with its last entry: when the scheduler has let all of it go on",
        meaning="runs, and `|` and workflows, that are to go on after a pause, a slice at a time",
    ),
    KeyKind(
        pattern="paused:<workflow>",
        type="string",
        lifetime="none: one per paused workflow, deleted when it goes on",
        meaning="this workflow is paused: since when, the number of the pause, and who has set it (JSON)",
    ),
    KeyKind(
        pattern="pauses",
        type="hash",
        lifetime="none: one number per workflow that was ever paused; it orders pauses that cross each other",
        meaning="how often each workflow was paused or went on",
    ),
    KeyKind(
        pattern="lane:<priority>:<queue>",
        type="sorted set",
        lifetime="deleted with its last entry; a step's entry is deleted when it is claimed or its run ends",
        meaning="steps whose messages nobody has claimed, by the time of sending to this queue",
    ),
    KeyKind(
        pattern="lanes",
        type="sorted set",
        lifetime="none: one entry per lane, dropped by the next look when nothing waits there",
        meaning="lanes in which messages wait, by the time of the next look",
    ),
    KeyKind(
        pattern="marks",
        type="sorted set",
        lifetime="none: one entry per lane, dropped by the next look when nothing waits there",
        meaning="for each lane, when the newest message that was claimed had been sent",
    ),
    KeyKind(
        pattern="looks",
        type="hash",
        lifetime="none: one entry per lane, dropped by the next look when nothing waits there",
        meaning="what the last look at a lane has seen",
    ),
    KeyKind(
        pattern="workers",
        type="hash",
        lifetime="an hour after the last report; a worker's entry is read for three times the interval of its reports",
        meaning="what each worker holds of messages that nobody has claimed; in the first partition",
    ),
    KeyKind(
        pattern="seat",
        type="hash",
        lifetime="none: one per partition, of a few bytes; without it the offset of the steady clock would be lost",
        meaning="the scheduler lock: who holds it, how far it has come, what it was handed last, and the offset of the steady "
        "clock, which all due times use, from the server's clock",
    ),
    KeyKind(
        pattern="index:status:<status>",
        type="sorted set",
        lifetime="none: one per status; entries of pruned runs are dropped",
        meaning="runs in a status, by their start",
    ),
    KeyKind(
        pattern="index:family:<workflow>",
        type="sorted set",
        lifetime="none: one per workflow; entries of pruned runs are dropped",
        meaning="runs of a workflow in all its versions, by their start",
    ),
    KeyKind(
        pattern="index:tag:<tag>",
        type="sorted set",
        lifetime="none: one per tag; entries of pruned runs are dropped",
        meaning="runs of workflows with a tag, by their start",
    ),
    KeyKind(
        pattern="index:waits",
        type="sorted set",
        lifetime="none: one per partition; an entry is dropped when its step has got an event or its run ends",
        meaning="steps that wait, by the start of their run",
    ),
    KeyKind(
        pattern="index:waiting:<event>",
        type="sorted set",
        lifetime="none: one per event, deleted with its last entry; an entry is dropped when its step has got an event or its run ends",
        meaning="steps that wait for an event, by the start of their run",
    ),
    KeyKind(
        pattern="index:id:<id>",
        type="sorted set",
        lifetime="`hephaestus_retention` after the end of the last active run of the id",
        meaning="runs of an instance id, by their start",
    ),
    KeyKind(
        pattern="events",
        type="stream",
        lifetime="none: one per partition, of about `hephaestus_event_stream` entries; pruning leaves them",
        meaning="the event stream: an entry for each commit, with what telemetry tells of it; absent where it is switched off",
    ),
    KeyKind(
        pattern="events:gaps",
        type="hash",
        lifetime="deleted with its last field, when the entry behind a gap is acknowledged",
        meaning="for a group and an entry before which the cap has taken others: what the group had read before these",
    ),
    KeyKind(
        pattern="events:acked",
        type="hash",
        lifetime="deleted with its last field, when all events of its entry are acknowledged, or its group is forgotten",
        meaning="for a group and an entry: those of its events that are acknowledged, while others are not",
    ),
    KeyKind(
        pattern="events:used",
        type="hash",
        lifetime="none: one field per group; a group that is unused for 30 days is forgotten by the next reader of another",
        meaning="when each consumer group of the event stream was used last, to the hour",
    ),
    KeyKind(
        pattern="wake",
        type="channel",
        lifetime="no key: published when a near timer is set",
        meaning="wakes the scheduler of the partition",
    ),
    KeyKind(
        pattern="waits:<process>",
        type="channel",
        lifetime="no key: published by a process for itself, when it begins to wait for the end of a run",
        meaning="wakes the thread that listens for all ends that the process waits for",
    ),
    KeyKind(
        pattern="finished:<run_id>",
        type="channel",
        lifetime="no key: published once, when the run ends",
        meaning="wakes those who wait for the end of the run",
    ),
)


_PAGE = """\
# Keys

What is stored in Redis. Every name begins with `<namespace>:{<partition>}:`, the namespace being the setting
`hephaestus_namespace`; the braces keep the keys of one partition on one node of a cluster. Values are not for other
programs to write; those of a run may be read.

| Key | Type | Lifetime | Meaning |
|---|---|---|---|
"""


def render() -> str:
    """The reference page on keys."""
    return (
        _PAGE
        + "".join(f"| `{kind.pattern}` | {kind.type} | {kind.lifetime} | {kind.meaning} |\n" for kind in CATALOGUE)
        + run_fields.render()
    )


if __name__ == "__main__":
    sys.stdout.write(render())
