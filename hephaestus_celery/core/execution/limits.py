"""Constants of the rules, such as how often a lost event is free; durations are settings, see ``config.py``."""

from __future__ import annotations

LOSSES = 2
"""How often an event is sent again after its worker was lost; the next loss counts as a failed attempt."""
APPLY_MARGIN = 2_000_000
"""Microseconds that applying an event may take beyond the step's time limit. It may call a route, which is the user's code.
The rest takes almost no time, and a short limit is not meant for it."""
MOST_KEPT = 100
"""How many early events a run keeps."""
MOST_KEYS = 10_000
"""How many keys of events a run remembers."""
TURNED_AWAY = 1_000_000
"""Microseconds until the first message of a worker that was turned away is sent again; the time doubles each time, and begins
anew with an attempt or a round."""
MOST_DOUBLINGS = 9
"""How often that time doubles at most: after that, the interval stays the same."""
LEFT = 5_000_000
"""Microseconds until a run that only newer code can read is looked at again."""
STEP = 500_000
"""Microseconds that two clocks may differ before one counts as set."""
LONGEST_FACTOR = 8
"""The longest redispatch interval, as a multiple of the dispatch timeout."""
JITTER_FROM = 0.75
"""The least random factor of a redispatch interval."""
JITTER_SPAN = 0.5
"""How much larger that factor may be."""
JITTER_STEPS = 1009
"""The number of different factors: a prime, so that even intervals don't give the same factor each time."""
PIECE = 50
"""How many messages of a lane one look goes through."""
PIECE_SHARE = 10
"""Half a dispatch timeout, divided by this number, passes between two pieces of a lane; at most PIECE_PAUSE."""
PIECE_PAUSE = 1_000_000
"""Microseconds between two pieces of a lane at most."""
MOST_ROUNDS = 2
"""How often the time between two looks through a lane doubles at most."""
FIRST_KEPT = 100
"""How many rounds of a step the history keeps from the first on."""
LAST_KEPT = 100
"""How many of its last rounds the history keeps besides; one entry stands for those between."""
RESERVED = "\1"
"""Begins a text that stands in the place of a step's key, and is none: no key holds a control character."""
SWEEP = f"{RESERVED}sweep"
"""The name of such an entry of the due set; see :class:`.due_items.Sweep`."""
SETTLE = f"{RESERVED}settle"
"""The same; see :class:`.due_items.SettleDue`."""
UNDO = f"{RESERVED}undo"
"""The same; see :class:`.due_items.UndoDue`."""
COPY = f"{RESERVED}copy"
"""The same; see :class:`.due_items.CopyRun`."""
DEADLINE = f"{RESERVED}deadline"
"""The same; see :class:`.due_items.Deadline`."""
DEADLINE_ACCOUNT = "DeadlineExceeded: %s"
"""What the history says of a run whose deadline has come, with the message."""
DEADLINE_FAILURE = '{"kind":"exit","type":"DeadlineExceeded","message":"%s","stacktrace":null}'
"""The failure of such a run as JSON text, with the message."""
DEADLINE_MESSAGE = "the run has not ended within %s s of its start"
"""That message, with the seconds."""
