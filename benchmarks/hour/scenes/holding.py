"""A deploy during which a workflow is held, and the end of very many runs at once."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.hour.hour import Hour
from benchmarks.hour.longest import NOTED_MICROSECONDS, YARDSTICK_MICROSECONDS, measured
from benchmarks.hour.terminal import expect

FLOW, STORED = "OrderFlow", "shop.OrderFlow"
MEANWHILE = 20
"""Orders that are started while the workflow is held."""


def play(hour: Hour) -> None:
    """Hold, deploy, go on; then cancel."""
    _pause(hour)
    _cancel(hour)


def _pause(hour: Hour) -> None:
    before, first = hour.ledger(), hour.scale.orders + 1
    last = first + MEANWHILE - 1
    hour.terminal.type(f"celery -A shop hephaestus pause --whole {FLOW} --by ada --yes").has("paused")
    hour.terminal.type(f"python start_orders.py {first} {last}").has(f"{MEANWHILE} orders are started")
    hour.workers.stop()
    hour.workers.start("w1", "w2")
    shown = hour.terminal.type("celery -A shop hephaestus list --status pending --paused --limit 2")
    shown.has(f"pending order::A-{last}")
    expect(hour.count(workflow=STORED, status="pending") == MEANWHILE, "what was started is pending")
    expect(hour.ledger() == before, "nothing of them is done")
    hour.terminal.type(f"celery -A shop hephaestus unpause --whole {FLOW} --by ada --yes").has("unpaused")
    total = last + 1  # the fork, too
    hour.until(lambda: hour.count(workflow=STORED, status="completed") == total, "all orders are completed")
    hour.terminal.type("celery -A shop hephaestus stats").has(f"{STORED} completed {total}")
    hour.tell(
        "A pause during a deploy",
        "The workflow is held while workers are replaced: orders that come in meanwhile stay pending, and all complete afterwards.",
    )


def _cancel(hour: Hour) -> None:
    runs = hour.scale.cancelled
    hour.terminal.type(f"python start_campaign.py {runs}").has(f"{runs:,} advertisements")
    with measured(hour.server) as longest:
        shown = hour.terminal.type(
            "celery -A shop hephaestus cancel --workflow CampaignFlow --reason 'the wrong customers' --yes"
        ).has(f"cancelled {runs:,} runs")
    expect(hour.count(workflow="desk.CampaignFlow", status="cancelled") == runs, "all of them are cancelled")
    hour.terminal.type("celery -A shop hephaestus list --workflow CampaignFlow --limit 1").has("cancelled")
    hour.until(lambda: not hour.server.llen("celery"), "what nobody had begun with is turned away")
    name, durations = longest.slowest()
    expect(
        longest.usual() <= longest.limit, f"no script takes longer than {longest.limit / 1000:.1f} ms: {longest.calls}"
    )
    hour.tell(
        f"{runs:,} runs are cancelled",
        f"An advertisement went to the wrong customers, and all of its runs are ended while workers execute them, in {shown.seconds:.1f} seconds, "
        f"the start of Celery included. By the slow log of the server, the longest script meanwhile was `{name}`: of its {len(durations):,} calls "
        f"that took {NOTED_MICROSECONDS / 1000} ms or more, half took at most {_of(durations, 0.5)} ms, 99 of 100 at most {_of(durations, 0.99)} ms, "
        f"and the longest {_of(durations, 1)} ms. A yardstick of fixed work, which takes {YARDSTICK_MICROSECONDS / 1000} ms on a machine that has "
        f"nothing else to do, took {longest.yardstick / 1000:.1f} ms.",
    )


def _of(durations: Sequence[int], part: float) -> str:
    """Milliseconds that this part of the calls took at most; the shortest call comes first."""
    return f"{durations[max(0, round(part * len(durations)) - 1)] / 1000:.1f}"
