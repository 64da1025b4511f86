"""Start so many advertisements, each of which waits to be opened."""

import sys

import shop  # noqa: F401 - the Hephaestus of the shop
from desk import CampaignFlow

handles = CampaignFlow.start_many((f"C-{number}", {}) for number in range(1, int(sys.argv[1]) + 1))
print(f"{len(handles):,} advertisements are on their way")
