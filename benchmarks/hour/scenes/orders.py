"""Many orders, a bug in one of their steps, and what an operator does about it."""

from __future__ import annotations

from benchmarks.hour.hour import Hour
from benchmarks.hour.terminal import expect

FLOW = "OrderFlow"
STORED = "shop.OrderFlow"
ABROAD = 10
"""Every tenth order goes abroad, and meets the bug."""
_BUG = "{address['zip']}"
_MENDED = "{address.get('zip') or address['postcode']}"


def play(hour: Hour) -> None:
    """Start, look, mend, retry."""
    hour.show_file("The shop", "The operator has this application.", "shop.py")
    _start(hour)
    _look(hour)
    _mend(hour)
    _retry(hour)
    _fork(hour)


def _start(hour: Hour) -> None:
    orders = hour.scale.orders
    hour.workers.start("w1", "w2")
    hour.terminal.type(f"python start_orders.py 1 {orders}").has(f"{orders} orders are started")
    hour.until(lambda: hour.count(status_in=["completed", "failed"]) == orders, "all orders end")
    failed = orders // ABROAD
    hour.terminal.type("celery -A shop hephaestus stats").has(
        f"{STORED} completed {orders - failed}", f"{STORED} failed {failed}"
    )
    hour.tell(
        f"{orders} orders",
        f"Two workers are started, then {orders} orders, and the numbers say that not all of them went well.",
    )


def _look(hour: Hour) -> None:
    shown = hour.terminal.type("celery -A shop hephaestus list --status failed --limit 5")
    expect(shown.text.count("at label") == min(5, hour.scale.orders // ABROAD), "the failed orders failed at label")
    shown = hour.terminal.type(f"celery -A shop hephaestus show order::A-{ABROAD}")
    shown.has("✗ label failed", "label: KeyError: 'zip'", "Traceback", "address['zip']", "· ship not reached")
    hour.tell(
        "What went wrong",
        "All failed orders failed at one step, and one of them shows why: foreign addresses have no `zip`.",
    )


def _mend(hour: Hour) -> None:
    hour.mend("shop.py", _BUG, _MENDED)
    hour.terminal.type("diff shop.py mended.py", code=1).has("postcode")
    hour.terminal.type("mv mended.py shop.py")
    hour.workers.stop()
    hour.workers.start("w1", "w2")
    hour.tell(
        "The mend",
        "The code is mended, the workers of the old code are stopped, and workers of the new code are started.",
    )


def _retry(hour: Hour) -> None:
    orders, failed = hour.scale.orders, hour.scale.orders // ABROAD
    before = hour.ledger()
    hour.terminal.type(f"celery -A shop hephaestus retry --workflow {FLOW} --status failed --yes").has(
        f"retried {failed} runs"
    )
    hour.terminal.watch("celery -A shop hephaestus watch --limit 3", until=[f"completed {orders}", "steps/s"])
    attention = hour.terminal.type("celery -A shop hephaestus list --status failed --not-retried")
    expect("order::" not in attention.text, "nothing needs attention")
    numbers = range(1, orders + 1)
    expected = {f"{what} order::A-{number}": 1 for what in ("charged", "packed", "shipped") for number in numbers}
    expect(hour.ledger() == expected, "each order was charged, packed and shipped once")
    expect(all(before[what] == 1 for what in before), "nothing was done twice before")
    hour.terminal.type("sort ledger.txt | uniq --repeated | wc --lines").has("0")
    hour.tell(
        "Retry",
        "All failed orders go on where they had stopped, until every order is completed and nothing needs attention any more. "
        "The ledger of the shop has no line twice: nothing that had completed ran again.",
    )


def _fork(hour: Hour) -> None:
    hour.terminal.type(
        """celery -A shop hephaestus fork order::A-1 label --context '{"address": {"town": "Linz", "zip": "4020"}}'"""
    ).has("order::A-1 goes on as run")
    hour.terminal.type("celery -A shop hephaestus wait order::A-1 --timeout 30")
    shown = hour.terminal.type("celery -A shop hephaestus show order::A-1")
    shown.has('label {"label": "Linz 4020"}', 'ship {"to": "Linz 4020"}')
    ledger = hour.ledger()
    done = [ledger[f"{what} order::A-1"] for what in ("charged", "packed", "shipped")]
    expect(done == [1, 1, 2], "the fork ships again, and neither charges nor packs")
    hour.tell(
        "Fork",
        "A customer has moved: one order is labelled and shipped again with another address, and is neither charged nor packed again.",
    )
