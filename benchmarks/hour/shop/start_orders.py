"""Start the orders of these numbers. Every tenth goes abroad, where addresses have a postcode."""

import sys

from shop import OrderFlow


def order(number):
    address = {"town": "Bern", "postcode": "3011"} if number % 10 == 0 else {"town": "Graz", "zip": "8010"}
    return f"A-{number}", {"items": 1 + number % 3, "address": address}


first, last = map(int, sys.argv[1:])
handles = OrderFlow.start_many(order(number) for number in range(first, last + 1))
print(f"{len(handles)} orders are started, {handles[0].id} to {handles[-1].id}")
