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
