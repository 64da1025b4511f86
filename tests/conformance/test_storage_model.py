"""Both storages give the same answers to the same random story: the scripts do what the pure engine decides."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping
from enum import Enum

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.due_items import parse
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.redis import wide_steps as settling
from hephaestus_celery.testing.conformance.driven import DURATIONS

MOMENTS = {
    "start",
    "started_at",
    "finished_at",
    "queued_at",
    "claimed_at",
    "waiting_since",
    "at",
    "deadline",
    "sent_at",
}
UNORDERED = {"steps", "executing", "claimed"}  # of a delivery and a cancellation
STORY = 100  # operations of one run
HOUR = 3_600_000_000


def random_edges(chance):
    """A workflow of up to 12 steps: several beginnings, choices and fan-outs, joins and dead paths."""
    count = chance.randint(1, 12)
    keys = [f"s{number}" for number in range(count)]
    edges = {}
    for number, key in enumerate(keys):
        later = keys[number + 1 :]
        for event in ("x", "y", "z")[: chance.randint(1, 3)]:
            targets = chance.sample(later, min(len(later), chance.choice([0, 1, 2, 3, 4])))
            edges[key, event] = [
                (target, {"by": key + event}) if chance.random() < 0.3 else target for target in targets
            ]
    for number, key in enumerate(keys[1:], start=1):
        if chance.random() < 0.2:
            continue
        source, event = chance.choice([pair for pair in edges if pair[0] in keys[:number]])
        targets = edges[source, event]
        if key not in targets and (key, {"by": source + event}) not in targets:
            targets.append(key)
    for targets in edges.values():
        if not targets or chance.random() < 0.1:
            targets.append("done")
    return edges


def plain(value, name=""):
    """An answer of a storage without its moments; what has no order is sorted."""
    if name in MOMENTS:
        return value is not None
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name), field.name) for field in dataclasses.fields(value)} | {
            "type": type(value).__name__
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return sorted(items, key=repr) if name in UNORDERED else items
    return value


def with_fence(entry, fence):
    """An entry whose attempt is held by this fence: a tick makes another up in each storage."""
    run = entry.run and dataclasses.replace(entry.run, step=dataclasses.replace(entry.run.step, fence=fence))
    return dataclasses.replace(entry, fence=fence, run=run)


def history(run):
    """A run's history; what is said of a rescue is made up by the storages themselves, each in its own layout."""
    return [{**plain(entry), "detail": json.loads(entry.detail)} for entry in run.history()]


LANES = [None, "0:one", "9:two"]
TIMED = {"resend": 4, "redirect": 4, "retry": 4, "renew": 2, "seize": 4, "schedule": 3, "unschedule": 2, "tick": 8}
"""How often a story has to do with time."""


def make_due(run, member):
    """Let what a run has in the due set under this name be over."""
    if isinstance(run.storage, MemoryStorage):
        run.storage._memory.due[run.id, parse(member)] = 1
    else:
        run.storage._client.zadd(run.storage.keys.of_run(run.id).names[3], {f"{run.id}|{member}": 1})


class Story:
    """The same run in two storages, led through one random story."""

    def __init__(self, chance, twins):
        self.chance, self.twins, self.told = chance, twins, []
        self.fences, self.ticked = {}, set()

    def tell(self, operation, /, *args, **fields):
        """Do the same in both and compare the answers, and then all that is stored."""
        self.told.append((operation, args, fields))
        answers = [plain(getattr(twin, operation)(*args, **fields)) for twin in self.twins]
        assert answers[0] == answers[1], self.told
        self.compare()

    def compare(self):
        for look in (lambda twin: plain(twin.load()), history):
            seen = [look(twin) for twin in self.twins]
            assert seen[0] == seen[1], self.told
        assert set(self.twins[0].due()) == set(self.twins[1].due()), self.told
        assert self.twins[0].lanes() == self.twins[1].lanes(), self.told

    def tick(self, member):
        """Let one thing come due in both, and compare what that means."""
        self.told.append(("tick", member))
        found = []
        for twin in self.twins:
            make_due(twin, member)
            [*entries] = twin.storage.tick(0, owner="owner", worker="w1", seize=True, durations=DURATIONS).entries
            assert len(entries) <= 1
            for entry in entries:
                if entry.kind in (Due.LEASE_EXPIRED, Due.TIMED_OUT):
                    self.fences.setdefault(twin, {})[entry.dispatch.activation.step] = entry.fence
            found.append([plain(with_fence(entry, entry.fence and "new")) for entry in entries])
        assert found[0] == found[1], self.told
        self.compare_taken(found[0])

    def compare_taken(self, entries):
        # A fence that a tick has made up is another in each storage; who takes a step over fails its attempt at once.
        for entry in entries:
            self.ticked.add(entry["kind"])
            if entry["kind"] not in ("lease_expired", "timed_out"):
                continue
            key, again = entry["dispatch"]["activation"]["step"], self.chance.random() < 0.95
            for twin in self.twins:
                twin.fences[key] = self.fences[twin][key]
            answers = [plain(twin.retry(key, delay=HOUR) if again else twin.fail(key)) for twin in self.twins]
            assert answers[0] == answers[1], self.told
        self.compare()

    def go_on(self, number):
        chance, steps = self.chance, self.twins[0].load().steps
        unclaimed = [
            key for key, step in steps.items() if step.fence is None and step.status is not StepStatus.COMPLETED
        ]
        claimed = [key for key, step in steps.items() if step.fence is not None]
        anywhere = chance.choice(list(self.twins[0].graph.by_key))
        match chance.choices(
            ["claim", "complete", "suspend", "deliver", "fail", "cancel", "foreign", *TIMED],
            [40, 18, 24, 20, 0.3, 0.3, 3, *TIMED.values()],
        )[0]:
            case "claim":
                key = chance.choice(unclaimed) if unclaimed and chance.random() < 0.9 else anywhere
                attempt = steps[key].attempt if key in steps and chance.random() < 0.95 else chance.choice([1, 2])
                limit, holder = chance.choice([None, None, HOUR]), chance.choice([None, "task1", "task2"])
                lane, token = chance.choice(LANES), chance.choice([None, 1, 2, 3])
                self.tell(
                    "claim", key, attempt, fence=f"fence{number}", limit=limit, holder=holder, lane=lane, token=token
                )
            case "complete" if claimed:
                self.complete(chance.choice(claimed), steps)
            case "suspend" if claimed:
                key = chance.choice(claimed)
                if steps[key].resume is None:  # a delivered event is applied, it does not wait again
                    accepts = {
                        name: self.event(key)
                        for name in chance.sample(["go", "on", "up"], chance.choice([0, 2, 3, 3, 3, 3]))
                    }
                    self.tell("suspend", key, accepts=accepts, timeout=chance.choice([None, HOUR]))
            case "deliver":
                step = chance.choice([None, None, None, None, None, anywhere])
                name = chance.choice(["go", "go", "on", "up"])
                key = chance.choice([None, None, "evt_1", f"evt_{number // 2}"])
                self.tell("deliver", name, f'{{"n":{number}}}', step=step, keep=chance.random() < 0.25, key=key)
            case "fail" if claimed:
                self.tell("fail", chance.choice(claimed), failure=f'{{"n":{number}}}')
            case "cancel":
                self.tell("cancel", chance.choice([None, "", "enough"]))
            case "foreign":
                self.tell("complete", anywhere, self.event(anywhere), fence="foreign", operation=f"foreign{number}")
            case timed:
                self.go_on_in_time(timed, number, steps)

    def go_on_in_time(self, operation, number, steps):
        chance = self.chance
        claimed = [key for key, step in steps.items() if step.fence is not None]
        anywhere = chance.choice(list(self.twins[0].graph.by_key))
        match operation:
            case "retry" if claimed:
                self.tell("retry", chance.choice(claimed), delay=HOUR)
            case "resend":
                key = chance.choice(sorted(self.twins[0].lanes()) or [anywhere])
                step = steps.get(key)
                token = step.dispatch if step and chance.random() < 0.9 else 7
                goes = chance.choice(LANES)
                self.tell("resend", key, step.attempt if step else 1, token, lane=goes, operation=f"resend{number}")
            case "redirect":
                key = chance.choice(sorted(self.twins[0].lanes()) or [anywhere])
                step = steps.get(key)
                token = step.dispatch if step and chance.random() < 0.9 else 7
                self.tell("redirect", key, step.attempt if step else 1, token, lane=chance.choice(LANES[1:]))
            case "renew":
                self.tell("renew", chance.choice(claimed or [anywhere]), fence=chance.choice([None, None, "foreign"]))
            case "seize":
                key = chance.choice(claimed or [anywhere])
                attempt = steps[key].attempt if key in steps else 1
                self.tell(
                    "seize",
                    key,
                    attempt,
                    holder=chance.choice(["task1", "task2", ""]),
                    fence=f"seizer{number}",
                    timed_out=chance.random() < 0.3,
                )
            case "schedule":
                step = chance.choice([anywhere, "unheard"] if chance.random() < 0.1 else [anywhere])
                self.tell("schedule", step, reference=f"ref{number}", delay=HOUR)
            case "unschedule":
                member = chance.choice([member for member in self.twins[0].due() if "|" in member] or ["s0|none"])
                step, _, reference = member.partition("|")
                self.tell("unschedule", step, reference=reference)
                self.tell("unschedule", step, reference=reference)
            case "tick" if self.twins[0].due():
                self.tick(chance.choice(sorted(self.twins[0].due())))
            case _:
                pass

    def complete(self, key, steps):
        expected = self.chance.choice([None, None, None, self.twins[0].load().applied, 0])
        resume = steps[key].resume
        self.tell(
            "complete",
            key,
            resume.event if resume else self.event(key),
            result=self.chance.choice([None, f'{{"of":"{key}"}}']),
            metadata=self.chance.choice([None, f'{{"of":"{key}"}}']),
            rank=self.twins[0].graph.rank(key),
            lanes={
                step: lane for step in self.twins[0].graph.by_key if (lane := self.chance.choice(LANES)) is not None
            },
            expected=expected,
            computed=expected is not None,
        )

    def event(self, key):
        graph = self.twins[0].graph
        return self.chance.choice([event for source, event in graph.table if source.key == key] or ["done"])


def in_slices(monkeypatch):
    """As if two edges were more than one script may settle, and every fan-out wide."""
    monkeypatch.setattr(settling, "AT_ONCE", 0)
    monkeypatch.setattr(settling, "STAGED", 3)
    monkeypatch.setattr(settling, "SLICE", 2)


@pytest.mark.parametrize("slices", [False, True], ids=["whole", "slices"])
@pytest.mark.parametrize("seed", range(60))
def test_both_storages_tell_one_story(drive, redis_storage, monkeypatch, seed, slices):
    if slices:
        in_slices(monkeypatch)
    chance = random.Random(seed)
    run = drive(MemoryStorage()).start(
        random_edges(chance), config=chance.choice([None, '{"n":0}']), lane=chance.choice(LANES)
    )
    twin = run.twin(redis_storage)
    redis_storage.create(twin.new)
    story = Story(chance, [run, twin])
    for number in range(STORY):
        story.go_on(number)


def test_the_stories_reach_every_end_and_every_verdict(drive):
    seen, ticked = set(), set()
    for seed in range(200):
        chance = random.Random(seed)
        run = drive(MemoryStorage()).start(
            random_edges(chance), config=chance.choice([None, '{"n":0}']), lane=chance.choice(LANES)
        )
        story = Story(chance, [Noting(run, seen), run_twin(run)])
        for number in range(STORY):
            story.go_on(number)
        seen.add(run.load().status.value)
        ticked |= story.ticked
    assert seen >= {"completed", "failed", "cancelled", "applied", "conflict", "discarded", "stale", "taken"}
    assert seen >= {"accepted", "kept", "repeated", "ambiguous", "not_waiting", "resumed"}
    assert ticked == {kind.value for kind in Due if kind not in (Due.NOTHING, Due.SETTLE)}


def run_twin(run):
    """The same run once more, in a memory of its own."""
    storage = MemoryStorage()
    storage.create(run.new)
    return run.twin(storage)


class Noting:
    """A run that notes the outcomes of what is done to it."""

    def __init__(self, run, seen):
        self._run, self._seen = run, seen

    def __getattr__(self, name):
        found = getattr(self._run, name)
        if name not in ("claim", "complete", "suspend", "retry", "fail", "deliver", "cancel"):
            return found

        def noted(*args, **fields):
            answer = found(*args, **fields)
            for field in ("verdict", "reason", "outcome"):
                self._seen.add(getattr(answer, field, None))
            if getattr(answer, "resumed", False):
                self._seen.add("resumed")
            return answer

        return noted
