"""Random calls of two storages about one random run, each made of both and compared; see :class:`RandomCalls`."""

from __future__ import annotations

import dataclasses
import functools

from twins import LANES, differences

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.execution.state import AtDone
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.storage.claims import ClaimRequest
from hephaestus_celery.storage.commits import Fail, NextRound, Retry, Suspend
from hephaestus_celery.storage.due import Outstanding, Sent
from hephaestus_celery.storage.pauses import PauseRequest
from hephaestus_celery.storage.resume_and_cancel import CancelRequest, Delivery
from hephaestus_celery.storage.starts import PreparedMessage
from hephaestus_celery.testing.conformance.driven import FAILURE
from hephaestus_celery.testing.conformance.driven_values import DURATIONS, held

CALLS = 80  # of one run
SECOND = 1_000_000
FOR_EVER = dataclasses.replace(DURATIONS, retention=None, stream=1000)
"""As memory keeps its runs, so does Redis here."""
HOUR = 3600 * SECOND
DEADLINES = (None, None, None, None, 1, 40 * SECOND + 7, 90 * SECOND, HOUR)
UNKNOWN = "01a22824-2020-78c8-9368-058b82f89eeb"
OFTEN = {
    "claim": 40,
    "complete": 18,
    "suspend": 20,
    "deliver": 20,
    "wait_together": 5,
    "fail": 0.5,
    "cancel": 0.4,
    "cancel_many": 0.2,
    "delete": 0.4,
    "retry": 5,
    "next_round": 5,
    "late": 3,
    "refused": 6,
    "astray": 2,
    "start": 2,
    "rerun": 2,
    "resend": 4,
    "redirect": 4,
    "renew": 2,
    "seize": 6,
    "schedule": 7,
    "unschedule": 2,
    "report": 1,
    "explain_steps": 3,
    "pause": 2,
    "unpause": 7,
    "pause_workflow": 1,
    "unpause_workflow": 6,
    "tick": 12,
    "again": 8,
}
"""How often each call is made."""
COMMITS = ("complete", "suspend", "next_round", "retry", "fail")


def random_edges(chance):
    """A workflow of up to 12 steps: several beginnings, choices and fan-outs, joins and dead paths."""
    count = chance.randint(1, 12)
    keys = [f"s{number}" for number in range(count)]
    edges = {}
    for number, key in enumerate(keys):
        later = keys[number + 1 :]
        for event in ("x", chance.choice(["y", FAILED]), "z")[: chance.randint(1, 3)]:
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


def random_joins(chance, edges):
    """Counted joins of some of the steps that several lead to."""
    sources = {}
    for (source, _), targets in edges.items():
        for target in targets:
            sources.setdefault(target if isinstance(target, str) else target[0], set()).add(source)
    return {
        key: chance.randint(1, len(found))
        for key, found in sources.items()
        if len(found) > 1 and key != "done" and chance.random() < 0.5
    }


class RandomCalls:
    """The same random calls of two storages, of which the first one is memory."""

    def __init__(self, chance, clock, twins, *, lists=(), slices=False, alone=False):
        self.chance, self.clock, self.twins, self.lists, self.slices = chance, clock, twins, lists, slices
        self.alone = alone  # no other run of the id is started
        self.made, self.repeatable, self.replies = [], [], []
        self.number = 0

    @property
    def run(self):
        """What is known of the run beside its storages."""
        return self.twins[0].run

    def make(self, name, ask, *, prepared=None, keep=True):
        """Make a call of both; ``ask(twin)`` gives it. Compares the replies, and all that is stored."""
        calls = [ask(twin) for twin in self.twins]
        self.made.append((name, calls[0], self.clock.now_ns))
        first = self.compare(name, calls, prepared=prepared or {})
        if keep:
            self.repeatable.append((name, calls, first))
            if self.chance.random() < 0.2:
                self.repeat(*self.repeatable[-1], at_once=True)
        return first

    def again(self):
        """A call of before once more, but of a step's commits only the last: Redis keeps one reply for each step."""
        if self.repeatable:
            name, calls, first = self.chance.choice(self.repeatable[-12:])
            if name not in COMMITS or not any(
                other[0] in COMMITS and other[1] is not calls for other in self.after(calls)
            ):
                self.repeat(name, calls, first, at_once=False)

    def after(self, calls):
        place = next(place for place, made in enumerate(self.repeatable) if made[1] is calls)
        return self.repeatable[place + 1 :]

    def compare(self, name, calls, *, prepared, sent=None):
        expected, found = (twin.reply(call) for twin, call in zip(self.twins, calls, strict=True))
        posted = self.twins[1].posted()
        if sent is None:
            sent = self.sent_by_store(expected, prepared)
            if self.slices:  # what a later slice starts than that of its edge is left to who has committed
                sent = [key for key in sent if prepared[key].text in posted]
            assert posted == sorted(prepared[key].text for key in sent), self.explain(name, expected, found)
        else:
            assert posted == [], self.explain(name, "a message was sent twice")
        if sent:
            expected = self.without(expected, sent)
        assert expected == found, self.explain(name, *differences(expected, found))
        self.compare_stored(name)
        self.replies.append(expected)
        return expected, sent

    def compare_stored(self, name):
        while self.twins[1].sweeps():
            expected, found = (
                twin.reply(functools.partial(twin.tick, seize=True, durations=FOR_EVER)) for twin in self.twins
            )
            assert expected == found, self.explain("sweep", *differences(expected, found))
        expected, found = (twin.stored() for twin in self.twins)
        assert expected == found, self.explain(name, *differences(expected, found))

    def repeat(self, name, calls, first, *, at_once):
        """Make a call again, with the same operation: at once it gets the same reply, and nothing changes."""
        reply, sent = first
        if not self.slices or name != "complete":
            self.made.append((f"{name}, again", calls[0], self.clock.now_ns))
            before = self.twins[0].stored()
            found, _ = self.compare(name, calls, prepared={}, sent=sent)
            if at_once:
                assert found == reply, self.explain(name, *differences(reply, found))
                assert self.twins[0].stored() == before, self.explain(name, "a repeat has changed something")

    def sent_by_store(self, reply, prepared):
        """The steps whose messages Redis sends itself: those that are prepared, and that the call starts."""
        if not prepared:
            return []
        dispatches = reply if isinstance(reply, list) else reply.get("dispatches", ())
        started = [dispatch["activation"]["step"] for dispatch in dispatches]
        return [key for key in started if key in prepared and prepared[key].list != self.lists[-1]]

    def without(self, reply, sent):
        """The reply of a store that has sent these itself."""
        if isinstance(reply, list):
            left = [each for each in reply if each["activation"]["step"] not in sent]
            return left if self.slices or not left else reply  # of a start, it sends all or says that it did not
        left = [each for each in reply["dispatches"] if each["activation"]["step"] not in sent]
        return {**reply, "dispatches": left}

    def explain(self, *about):
        """What a failure says: the calls so far, and what was about the last."""
        calls = [f"{at} {name}: {call.args} {call.keywords}" for name, call, at in self.made[-8:]]
        return "\n".join([*calls, *map(str, about)])

    def go_on(self):
        self.number += 1
        self.clock.now_ns += 1000 * self.chance.choice([1, 7, 1009, 20_011, 300_007, 2 * SECOND + 3])
        [name] = self.chance.choices(list(OFTEN), list(OFTEN.values()))
        getattr(self, name)()

    # What may be done

    def begin(self, new):
        """Start a run, whose first steps have prepared messages."""
        prepared = {first.step: first.prepared_message for first in new.firsts if first.prepared_message is not None}
        self.make("create", lambda twin: functools.partial(twin.storage.create, new), prepared=prepared, keep=False)

    def start(self):
        """The same run once more, or another of its id."""
        chance, new = self.chance, self.run.new
        if self.alone or chance.random() < 0.5:
            if not self.slices:
                self.make("create", lambda twin: functools.partial(twin.storage.create, new), keep=False)
            return
        fields = {
            "run_id": f"{self.run.id[:-4]}{self.number:04x}",
            "scope": chance.choice(["workflow", "version", "global"]),
            "family": chance.choice([new.family, "other.Family"]),
            "version": chance.choice([1, 2]),
        }
        self.begin(dataclasses.replace(new, **fields))

    def rerun(self):
        """A retry of the run, or a fork of it; what comes of it is the run that the other calls are about."""
        chance, run, steps = self.chance, self.run, self.steps()
        if self.slices or not steps or ("done" in steps and len(steps) == 1):
            return
        step = chance.choice(sorted(steps))
        fields = {
            "run_id": f"{run.id[:-8]}{self.number:04x}{run.id[-4:]}",
            "lane": chance.choice([None, *LANES]),
            "initial": chance.choice(["", '{"items":4}']),
            "max_attempts": chance.choice([1, 5]),
            "deadline": chance.choice(DEADLINES),
        }
        step = step if step not in undoing_keys(run) else None
        if step is None:
            return
        retry = chance.random() < 0.7
        rerun = run.rerun(again=chance.choice([None, None, [step]]), retry=retry, **fields)
        if not rerun.run.firsts:
            return
        before = [twin.plain(twin.run.load()) for twin in self.twins]
        assert before[0] == before[1]
        prepared = self.prepared([first.step for first in rerun.run.firsts])
        firsts = [dataclasses.replace(first, prepared_message=prepared.get(first.step)) for first in rerun.run.firsts]
        rerun = dataclasses.replace(rerun, run=dataclasses.replace(rerun.run, firsts=firsts))
        reply, _ = self.make(
            "rerun", lambda twin: functools.partial(twin.storage.rerun, rerun), prepared=prepared, keep=False
        )
        after = [twin.plain(twin.run.load()) for twin in self.twins]
        assert after[0] == after[1]
        if isinstance(reply, list):
            for twin in self.twins:
                twin.run = twin.run.of(rerun)
            self.compare_stored("rerun")
            self.made.clear()
            self.repeatable.clear()

    def claim(self):
        steps, chance = self.steps(), self.chance
        over = (StepStatus.SKIPPED, StepStatus.FAILED)
        unclaimed = [
            key
            for key, step in steps.items()
            if step.fence is None and step.order is None and (step.status not in over or chance.random() < 0.1)
        ]
        key = chance.choice(unclaimed) if unclaimed and chance.random() < 0.9 else self.anywhere()
        attempt = steps[key].attempt if key in steps and chance.random() < 0.95 else chance.choice([1, 2])
        number = steps[key].round if key in steps else 1
        self.ask(key, attempt, round=number if chance.random() < 0.95 else chance.choice([1, 2]))

    def refused(self):
        """A claim of a worker that can't execute the step, or doesn't know the run."""
        steps = self.steps()
        key = self.anywhere()
        attempt = steps[key].attempt if key in steps else 1
        odd = [{"workflow": "shop.Other"}, {"versions": (2, 3)}, {"versions": ()}, {"schema": 0}, {"run_id": UNKNOWN}]
        self.ask(key, attempt, **self.chance.choice(odd))

    def ask(self, key, attempt, **fields):
        chance = self.chance
        values = {
            "run_id": self.run.id,
            "workflow": self.run.new.name,
            "activation": Activation.parse(key),
            "attempt": attempt,
            "fence": f"fence{self.number}",
            "versions": (1,),
            "predecessors": tuple(chance.sample(list(self.run.graph.by_key), chance.randint(0, 2))),
            "limit": chance.choice([None, None, 20 * SECOND, 45 * SECOND]),
            "holder": chance.choice([None, "task1", "task2"]),
            "worker": chance.choice([None, "w1"]),
            "lane": chance.choice([None, *LANES]),
            "token": chance.choice([None, 1, 2, 3]),
            "durations": FOR_EVER,
            **fields,
        }
        request = ClaimRequest(**values)
        self.make("claim", lambda twin: functools.partial(twin.claim, request))

    def complete(self):
        steps = self.steps()
        key = self.claimed(steps)
        if key is None:
            return
        resume = steps[key].resume
        chance, graph = self.chance, self.run.graph
        prepared = self.prepared([key for key in graph.by_key if key not in undoing_keys(self.run)])
        compensation = graph.compensations.get(graph.by_key[key])
        event = resume.event if resume else self.event(key)
        expected = chance.choice([None, None, None, self.twins[0].run.load().applied, 0])
        fields = {
            "event": event,
            "kind": chance.choice(["error", "exit"]) if event == FAILED else None,
            "result": chance.choice([None, f'{{"of":"{key}"}}', f'{{"of":"{key * chance.choice([1, 9, 20])}"}}']),
            "metadata": chance.choice([None, f'{{"of":"{key}"}}']),
            "rank": graph.rank(key),
            "lanes": {step: lane for step in graph.by_key if (lane := chance.choice([None, *LANES])) is not None},
            "expected": expected,
            "computed": expected is not None,
            "prepared": prepared,
            "undo": compensation
            and Undo(
                step=key,
                compensation=compensation.key,
                max_attempts=chance.choice([1, 5]),
                lane=chance.choice([None, *LANES]),
            ),
            **self.at_done(),
        }
        self.make(
            "complete",
            lambda twin: functools.partial(twin.storage.commit, twin.run.completion(key, **fields)),
            prepared=prepared,
        )

    def at_done(self):
        """What becomes of the run if Done is reached: most often it completes, without a result."""
        found = self.chance.choice(
            [
                *[{}] * 6,
                {"at_done": AtDone.STARTS},
                {"at_done": AtDone.ASKS},
                {"outcome": '{"sum":7}'},
                {"outcome": f'{{"sum":"{"7" * 80}"}}'},
                {"at_done": AtDone.FAILS, "outcome": FAILURE, "refused": FAILURE},
            ]
        )
        # Where edges are settled in slices, nobody is there to compute a result at their end.
        return {} if self.slices and found.get("at_done") is not AtDone.STARTS else found

    def prepared(self, keys):
        """Messages for some steps, on lists that take them, or on the last, which is none."""
        if not self.lists or self.chance.random() < 0.5:
            return {}
        return {
            key: PreparedMessage(list=self.chance.choice(self.lists), text=f"{self.number} {key}")
            for key in keys
            if key != "done" and self.chance.random() < 0.6
        }

    def suspend(self):
        steps = self.steps()
        key = self.claimed(steps)
        if key is None:
            return
        resume = steps[key].resume
        if resume is not None:  # a delivered event is applied, or dropped if it does not fit
            if resume.source == "external" and self.chance.random() < 0.5:
                self.commit("suspend", Suspend, key, accepts=dict(steps[key].accepts), timeout=None, discards=True)
            return
        names = self.chance.sample(["go", "on", "up"], self.chance.choice([0, 2, 3, 3, 3, 3]))
        fields = {
            "accepts": {name: self.event(key) for name in names},
            "timeout": self.chance.choice([None, 7 * SECOND]),
            "checks": self.chance.random() < 0.5,
        }
        self.commit("suspend", Suspend, key, **fields)

    def retry(self):
        fields = {"delay": self.chance.choice([0, SECOND, 40 * SECOND]), "kind": ["error", "exit"][self.number % 2]}
        self.commit("retry", Retry, self.claimed(self.steps()), **fields)

    def next_round(self):
        long = self.chance.choice([1, 30, 60])
        fields = {
            "delay": self.chance.choice([0, 0, SECOND, 40 * SECOND]),
            "state": self.chance.choice([None, f'{{"n":"{str(self.number) * long}"}}']),
        }
        self.commit("next_round", NextRound, self.claimed(self.steps()), **fields)

    def fail(self):
        self.commit(
            "fail", Fail, self.claimed(self.steps()), failure=f'{{"kind":"error","type":"E","message":"{self.number}"}}'
        )

    def commit(self, name, made, key, **fields):
        took = self.number * 10**13 + 1
        if key is not None and (key != "done" or name == "fail"):  # it is not executed, so it comes to nothing else
            self.make(
                name,
                lambda twin: functools.partial(
                    twin.storage.commit, made(**twin.run._common(key, name), took=took, **fields)
                ),
            )

    def late(self):
        """A commit of who does not hold the step any more."""
        key = self.anywhere()
        fields = {"fence": "foreign", "operation": f"foreign{self.number}"}
        event = self.event(key)
        self.make(
            "late", lambda twin: functools.partial(twin.storage.commit, twin.run.completion(key, event, **fields))
        )

    def astray(self):
        """A call about a run that nobody knows."""
        storage_calls = [
            lambda storage: functools.partial(storage.load, UNKNOWN),
            lambda storage: functools.partial(storage.history, UNKNOWN),
            lambda storage: functools.partial(storage.read_initial, UNKNOWN),
            lambda storage: functools.partial(
                storage.cancel,
                CancelRequest(
                    run_id=UNKNOWN, operation=f"c{self.number}", entry='{"kind":"cancel"}', durations=FOR_EVER
                ),
            ),
            lambda storage: functools.partial(storage.schedule, UNKNOWN, Activation("s0"), reference="r", delay=1),
            lambda storage: functools.partial(
                storage.unschedule, UNKNOWN, Activation("s0"), reference="r", operation=f"u{self.number}"
            ),
            lambda storage: functools.partial(
                storage.seize,
                UNKNOWN,
                Activation("s0"),
                attempt=1,
                holder="task1",
                fence="f",
                reason="lost",
                worker="w1",
                durations=FOR_EVER,
            ),
            lambda storage: functools.partial(storage.renew, [held(UNKNOWN, "s0", fence="f")]),
            lambda storage: functools.partial(storage.commit, self.commit_astray()),
            lambda storage: functools.partial(storage.deliver, self.delivery(RunReference(id=UNKNOWN))),
            lambda storage: functools.partial(storage.deliver, self.delivery(RunReference(id="order::unknown"))),
        ]
        call = self.chance.choice(storage_calls)
        self.make("astray", lambda twin: call(twin.storage))

    def commit_astray(self):
        return Retry(
            operation=f"r{self.number}",
            run_id=UNKNOWN,
            activation=Activation("s0"),
            fence="f",
            entry="{}",
            delay=1,
            durations=FOR_EVER,
        )

    def delivery(self, run, *, name="go"):
        return Delivery(
            operation=f"d{self.number}", run=run, name=name, data="{}", step=None, keep=False, durations=FOR_EVER
        )

    def deliver(self):
        chance = self.chance
        reference = chance.choice(
            [
                RunReference(id=self.run.id),
                RunReference(id=self.run.id),
                RunReference(id=self.run.new.instance_id),
                RunReference(id=self.run.new.instance_id, family=self.run.new.family, version=1, exact=True),
                RunReference(id=self.run.new.instance_id, family="other.Family"),
            ]
        )
        delivery = Delivery(
            operation=f"delivery{self.number}",
            run=reference,
            name=chance.choice(["go", "go", "on", "up"]),
            data=f'{{"n":{self.number}}}',
            step=chance.choice([None, None, None, None, None, self.anywhere()]),
            keep=chance.random() < 0.25,
            key=chance.choice([None, None, "evt_1", f"evt_{self.number // 2}"]),
            by=chance.choice([None, "ada"]),
            durations=FOR_EVER,
        )
        self.make_delivery(delivery)

    def make_delivery(self, delivery):
        self.make("deliver", lambda twin: functools.partial(twin.storage.deliver, delivery))

    def wait_together(self):
        """Two steps come to wait for one event, and it comes."""
        steps = self.steps()
        active = [key for key, step in steps.items() if step.status is StepStatus.ACTIVE and not step.backing_off]
        awaited = [name for step in steps.values() if step.resume is None for name in step.accepts]
        if len(active) + len(awaited) < 2 or not active:
            return
        name = self.chance.choice(awaited or ["go"])
        for key in self.chance.sample(active, min(len(active), 1 if awaited else 2)):
            self.number += 1  # as each call of its own
            if steps[key].fence is None:
                self.ask(key, steps[key].attempt, round=steps[key].round)
            if self.steps()[key].fence is not None:
                self.commit("suspend", Suspend, key, accepts={name: self.event(key)}, timeout=None)
        self.make_delivery(self.delivery(RunReference(id=self.run.id), name=name))

    def cancel(self):
        request = CancelRequest(
            run_id=self.run.id,
            operation=f"cancel{self.number}",
            reason=self.chance.choice([None, "", "enough"]),
            entry='{"kind":"cancel"}',
            durations=FOR_EVER,
            compensate=self.chance.random() < 0.7,
        )
        self.make("cancel", lambda twin: functools.partial(twin.storage.cancel, request))

    def cancel_many(self):
        fields = {"reason": self.chance.choice([None, "enough"]), "entry": '{"kind":"cancel"}', "durations": FOR_EVER}
        runs, operation = [self.run.id, UNKNOWN], f"cancels{self.number}"
        self.make(
            "cancel_many",
            lambda twin: functools.partial(
                lambda twin, operation: [
                    (found.sequence, found.run.status, found.run.cancel_reason) if hasattr(found, "run") else found
                    for found in twin.storage.cancel_many(runs, operation=operation, **fields)
                ],
                twin,
                operation,
            ),
        )

    def delete(self):
        """Delete the newest run of the id, unless that is the one which the calls are about."""
        found = self.twins[0].storage.candidates(self.run.new.instance_id, family=None)
        run_id = self.chance.choice([found.newest, UNKNOWN])
        if run_id != self.run.id or not self.run.load().status.final:
            operation = f"delete{self.number}"
            self.make(
                "delete",
                lambda twin: functools.partial(twin.storage.delete_many, [run_id], operation=operation),
                keep=run_id != self.run.id,  # again after its end, it would delete the run
            )

    def resend(self):
        dispatch = self.message()
        outstanding = Outstanding(run_id=self.run.id, name=self.run.new.name, version=1, dispatch=dispatch, passed=True)
        goes, lane = self.chance.choice([None, *LANES]), self.chance.choice(LANES)
        operation = f"resend{self.number}"
        self.make(
            "resend",
            lambda twin: functools.partial(
                twin.storage.resend,
                0,
                {outstanding: goes},
                lane=lane,
                operation=operation,
                worker="w1",
                durations=FOR_EVER,
            ),
        )

    def redirect(self):
        dispatch = self.message()
        sent = Sent(run_id=self.run.id, dispatch=dispatch, lane=self.chance.choice(LANES))
        self.make("redirect", lambda twin: functools.partial(twin.storage.redirect, [sent], durations=FOR_EVER))

    def message(self):
        steps = self.steps()
        key = self.chance.choice(sorted(self.run.lanes()) or [self.anywhere()])
        step = steps.get(key)
        token = step.dispatch if step and self.chance.random() < 0.9 else 7
        return DispatchStep(Activation.parse(key), step.attempt if step else 1, token, step.round if step else 1)

    def renew(self):
        key = self.claimed(self.steps()) or self.anywhere()
        foreign = self.chance.random() < 0.3
        wanted = self.chance.random() < 0.5

        def ask(twin):
            fence = "foreign" if foreign else twin.run.fences.get(key, "none")
            return functools.partial(twin.storage.renew, [held(self.run.id, key, fence=fence)], wanted=wanted)

        self.make("renew", ask)

    def seize(self):
        steps = self.steps()
        key = self.claimed(steps) or self.anywhere()
        fields = {
            "attempt": steps[key].attempt if key in steps else 1,
            "holder": self.chance.choice(["task1", "task2", ""]),
            "fence": f"seizer{self.number}",
            "reason": "lost",
            "worker": "w1",
            "timed_out": self.chance.random() < 0.5,
            "durations": FOR_EVER,
        }
        self.make("seize", lambda twin: functools.partial(twin.seize, key, fields))

    def schedule(self):
        step = "unheard" if self.chance.random() < 0.1 else self.anywhere()
        fields = {"reference": f"ref{self.number}", "delay": self.chance.choice([SECOND, 20 * SECOND])}
        self.make(
            "schedule",
            lambda twin: functools.partial(twin.storage.schedule, self.run.id, Activation.parse(step), **fields),
        )

    def unschedule(self):
        member = self.chance.choice([member for member in self.run.due() if "|" in member] or ["s0|none"])
        step, _, reference = member.partition("|")
        fields = {"reference": reference, "operation": f"untimer{self.number}"}
        self.make(
            "unschedule",
            lambda twin: functools.partial(twin.storage.unschedule, self.run.id, Activation.parse(step), **fields),
        )

    def pause(self):
        self.change_pause("pause")

    def unpause(self):
        self.change_pause("unpause")

    def change_pause(self, name):
        request = PauseRequest(
            run_id=self.chance.choice([self.run.id] * 19 + [UNKNOWN]),
            operation=f"{name}{self.number}",
            entry=f'{{"kind":"{name}"}}',
            by=self.chance.choice([None, "ann", 'a"|é']),
            durations=FOR_EVER,
        )
        self.make(name, lambda twin: functools.partial(getattr(twin.storage, name), request))

    def pause_workflow(self):
        family, operation = self.family(), f"pause_workflow{self.number}"
        by = self.chance.choice([None, "bob"])
        self.make(
            "pause_workflow",
            lambda twin: functools.partial(
                twin.storage.pause_workflow, family, operation=operation, by=by, durations=FOR_EVER
            ),
        )

    def unpause_workflow(self):
        family, operation = self.family(), f"unpause_workflow{self.number}"
        self.make(
            "unpause_workflow",
            lambda twin: functools.partial(
                twin.storage.unpause_workflow, family, operation=operation, durations=FOR_EVER
            ),
        )

    def family(self):
        return self.chance.choice([self.run.new.family, self.run.new.family, "other.Family"])

    def report(self):
        holdings = self.chance.choice([None, "[]", '["x"]'])
        lifetime = self.chance.choice([SECOND, 60 * SECOND])
        self.make("report", lambda twin: functools.partial(twin.storage.report, "w1", holdings, lifetime=lifetime))

    def explain_steps(self):
        """What the steps wait for, when they come due, and the runs that their beginning may mean."""
        keys = [Activation(key) for key in (*self.steps(), self.anywhere())]
        run_id = self.chance.choice([self.run.id, self.run.id, UNKNOWN])
        beginning = self.run.id[: self.chance.choice([8, 30])]
        name, arguments, limit = self.chance.choice(
            [
                ("facts", (run_id, keys), {}),
                ("due_times", ([(run_id, key) for key in keys],), {}),
                ("runs_beginning_with", (beginning,), {"limit": 3}),
            ]
        )
        self.make(name, lambda twin: functools.partial(getattr(twin.storage, name), *arguments, **limit), keep=False)

    def tick(self):
        """One look at what has come due: now, a microsecond too early, or in time."""
        soonest = self.twins[0].soonest()
        if soonest is not None:
            early = self.chance.choice([0, 0, 0, 0, 1, SECOND])
            self.clock.now_ns = max(self.clock.now_ns, 1000 * (soonest - early))
        seize = self.chance.random() < 0.9
        reply, _ = self.make(
            "tick",
            lambda twin: functools.partial(twin.tick, seize=seize, durations=FOR_EVER),
            keep=False,
        )
        for report in reply["lanes"]:
            for message in report["outstanding"]:
                self.resend_reported(report["lane"], message)

    def resend_reported(self, lane, message):
        dispatch = DispatchStep(
            Activation.parse(message["dispatch"]["activation"]["step"]),
            message["dispatch"]["attempt"],
            message["dispatch"]["token"],
            message["dispatch"]["round"],
        )
        lost = Outstanding(
            run_id=message["run_id"], name=message["name"], version=1, dispatch=dispatch, passed=message["passed"]
        )
        operation = f"lost{self.number}"
        self.make(
            "resend",
            lambda twin: functools.partial(
                twin.storage.resend, 0, {lost: lane}, lane=lane, operation=operation, worker="w1", durations=FOR_EVER
            ),
        )

    # What is known

    def steps(self):
        return self.run.load().steps

    def claimed(self, steps):
        """A step that somebody holds, or None."""
        held = [key for key, step in steps.items() if step.fence is not None and step.status is not StepStatus.FAILED]
        return self.chance.choice(held) if held else None

    def anywhere(self):
        return self.chance.choice(list(self.run.graph.by_key))

    def event(self, key):
        graph = self.run.graph
        return self.chance.choice(
            [event for source, event in graph.table if source.key == key] or ["done"]
        )  # also of a compensation


def undoing_keys(run):
    """The keys of the compensations of a run's workflow."""
    return {step.key for step in run.graph.compensating}


def random_compensations(chance, edges):
    """Compensations of some steps of a workflow."""
    keys = sorted({source for source, _ in edges})
    return {key: f"undo_{key}" for key in keys if chance.random() < 0.6}


def start_of(drive, chance, storage, *, lists=()):
    """A run that is to be started: of a random workflow, its first steps with messages and in lanes."""
    edges = random_edges(chance)
    joins = random_joins(chance, edges) if chance.random() < 0.5 else None
    run = drive(storage, durations=FOR_EVER).prepare(
        edges,
        joins=joins,
        config=chance.choice([None, '{"n":0}']),
        compensations=random_compensations(chance, edges) if chance.random() < 0.5 else None,
    )
    firsts = [
        dataclasses.replace(
            first,
            lane=chance.choice([None, *LANES]),
            prepared_message=PreparedMessage(list=chance.choice(lists), text=f"0 {first.step}")
            if lists and chance.random() < 0.6
            else None,
        )
        for first in run.new.firsts
    ]
    headers = chance.choice([None, '{"trace":"1"}'])
    new = dataclasses.replace(run.new, firsts=firsts, message_headers=headers, deadline=chance.choice(DEADLINES))
    run.new = new
    return run


def follow(calls):
    calls.begin(calls.run.new)
    for _ in range(CALLS):
        calls.go_on()
