"""Runs that do not move, one for each reason, and what ``show`` says of it; each moves in the end."""

from __future__ import annotations

from benchmarks.hour.hour import Hour
from benchmarks.hour.terminal import expect

PARCELS = 40
"""More than two workers execute and have taken from the queue meanwhile."""


def play(hour: Hour) -> None:
    """All of them."""
    _queue_without_consumer(hour)
    _event(hour)
    _pause(hour)
    _backoff(hour)
    _killed_worker(hour)
    _backlog(hour)
    _unknown_version(hour)
    _no_scheduler(hour)
    _end(hour)


def _show(hour: Hour, run: str, cause: str, *parts: str) -> None:
    """Show a run once this keeps it from moving."""
    reason = hour.until_because(run, cause)
    moved_by = reason.moved_by.replace("-A APP ", "-A shop ")  # as the command line names the application
    hour.terminal.type(f"celery -A shop hephaestus show {run}").has(
        "Why it is not moving", f"{reason.step}: waits for", f"what moves it: {moved_by}", *parts
    )


def _start(hour: Hour, workflow: str, value: str) -> None:
    hour.terminal.type(f"celery -A shop hephaestus start {workflow} {value}").has("started")


def _until_completed(hour: Hour, run: str) -> None:
    hour.until(lambda: hour.hephaestus.get(run).status == "completed", f"{run} completes")


def _queue_without_consumer(hour: Hour) -> None:
    _start(hour, "GiftFlow", "G-1")
    _show(hour, "gift::G-1", "queue_without_consumer", "a worker that takes from queue gifts: none does")
    hour.workers.start("gifts", options="-Q gifts")
    _until_completed(hour, "gift::G-1")
    hour.tell(
        "Stuck: nobody takes from its queue",
        "A step has a queue of its own, and moves when a worker of that queue is started.",
    )


def _event(hour: Hour) -> None:
    _start(hour, "InvoiceFlow", "I-1")
    _show(hour, "invoice::I-1", "event", "the event 'paid'", "resume RUN paid")
    hour.terminal.type("""celery -A shop hephaestus resume invoice::I-1 paid '{"euros": 40}'""")
    _until_completed(hour, "invoice::I-1")
    hour.tell("Stuck: an event has not come", "An invoice waits to be paid, and the operator brings the event.")


def _pause(hour: Hour) -> None:
    _start(hour, "InvoiceFlow", "I-2")
    hour.until_because("invoice::I-2", "event")
    hour.terminal.type("celery -A shop hephaestus pause invoice::I-2 --by ada").has("paused")
    hour.terminal.type("""celery -A shop hephaestus resume invoice::I-2 paid '{"euros": 20}'""")
    _show(hour, "invoice::I-2", "paused", "the end of the pause of its run (set by ada)", "unpause RUN")
    hour.terminal.type("celery -A shop hephaestus unpause invoice::I-2 --by ada").has("unpaused")
    _until_completed(hour, "invoice::I-2")
    hour.tell(
        "Stuck: it is paused", "The invoice is paid while its run is paused, and the payment counts when that goes on."
    )


def _backoff(hour: Hour) -> None:
    _start(hour, "RefundFlow", "R-1")
    _show(hour, "refund::R-1", "backoff", "its backoff before attempt 2 of 5", "(in 29m")
    hour.terminal.type("celery -A shop hephaestus cancel refund::R-1 --reason 'paid in cash'").has("cancelled")
    expect(hour.hephaestus.get("refund::R-1").status == "cancelled", "the refund is cancelled")
    hour.tell(
        "Stuck: it backs off",
        "The bank is closed, so the next attempt is half an hour away, and the operator does not wait for it.",
    )


def _killed_worker(hour: Hour) -> None:
    hour.terminal.type("touch scale-is-taken")
    _start(hour, "ParcelFlow", "P-0")
    hour.until_because("parcel::P-0", "executing")
    worker = hour.hephaestus.get("parcel::P-0").step_states["weigh"].worker or ""
    name, _, _ = worker.partition("@")
    hour.workers.kill(name)
    _show(hour, "parcel::P-0", "executing", f"{worker} to end attempt 1 of 5", "the end of its lease")
    hour.terminal.type("rm scale-is-taken")
    _until_completed(hour, "parcel::P-0")
    hour.terminal.type("celery -A shop hephaestus history parcel::P-0").has(
        "rescue weigh 1", "lease expired", "weigh 2 completed"
    )
    hour.workers.start(name)
    hour.tell(
        "Stuck: its worker was killed",
        "A worker is killed in the middle of a step, and when its lease has expired another one goes on.",
    )


def _backlog(hour: Hour) -> None:
    hour.terminal.type("touch scale-is-taken")
    hour.terminal.type(f"python start_parcels.py {PARCELS}").has(f"{PARCELS} parcels are started")
    last = f"parcel::P-{PARCELS}"
    _show(hour, last, "backlog", "messages before its own in queue celery")
    hour.terminal.type("rm scale-is-taken")
    _until_completed(hour, last)
    hour.tell(
        "Stuck: a backlog",
        "All processes are busy with a parcel each, and the last parcel is told how many messages are before its own.",
    )


def _unknown_version(hour: Hour) -> None:
    hour.terminal.type("diff desk.py desk_v2.py", code=1).has("2: ReturnV2")
    hour.terminal.type("mv desk_v2.py desk.py")
    _start(hour, "ReturnFlow", "T-1")
    _show(
        hour,
        "return::T-1",
        "unknown_version",
        "version 2, which",
        "can't execute",
        "a worker with code that defines it",
    )
    hour.tell(
        "Stuck: no worker knows its version",
        "Who starts runs has the new version of a workflow already, and the workers have not.",
    )


def _no_scheduler(hour: Hour) -> None:
    _start(hour, "ReminderFlow", "M-1")
    hour.until_because("reminder::M-1", "timer")
    hour.workers.stop()
    _show(
        hour,
        "reminder::M-1",
        "no_scheduler",
        "a scheduler: none is at work",
        "what moves it: a worker, or celery -A shop",
    )
    hour.tell(
        "Stuck: no scheduler is at work", "All workers are stopped, so nobody sees that the time of a reminder is over."
    )


def _end(hour: Hour) -> None:
    hour.workers.start("w1", "w2")
    for run in ("reminder::M-1", "return::T-1"):
        _until_completed(hour, run)
    active = ["pending", "running", "waiting"]
    hour.until(lambda: hour.count(status_in=active) == 0, "all runs end")
    hour.terminal.type("celery -A shop hephaestus stats").has("no run waits for an event")
    hour.tell("The end of the hour", "Workers of the new code are started, and everything moves.")
