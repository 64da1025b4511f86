"""Start so many parcels, each of which has to be weighed."""

import sys

import shop  # noqa: F401 - the Hephaestus of the shop
from desk import ParcelFlow

handles = ParcelFlow.start_many((f"P-{number}", {}) for number in range(1, int(sys.argv[1]) + 1))
print(f"{len(handles)} parcels are started, {handles[0].id} to {handles[-1].id}")
