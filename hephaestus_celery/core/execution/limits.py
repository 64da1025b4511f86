"""Constants of the rules, such as how often a lost event is free; durations are settings, see ``config.py``."""

from __future__ import annotations

LOSSES = 2
"""How often an event is sent again because the worker that applied it was lost, before that counts as a failed attempt."""
APPLY_MARGIN = 2_000_000
"""Microseconds beyond a step's time limit in which an event is to be applied: behind it there may be a route, which is the
user's code. All else takes no time to speak of, and a limit that is short is not meant for it."""
MOST_KEPT = 100
"""How many early events a run keeps."""
MOST_KEYS = 10_000
"""How many keys of events a run remembers."""
TURNED_AWAY = 1_000_000
"""Microseconds until a first message that went to the wrong worker is sent again; each further one twice as late."""
MOST_DOUBLINGS = 9
"""How often that time doubles at most: further messages come at the same interval."""
LEFT = 5_000_000
"""Microseconds until what only newer code can read is looked at again."""
STEP = 500_000
"""Microseconds that two clocks may differ before one counts as set."""
LONGEST_FACTOR = 8
"""How many times the dispatch timeout a message that was sent again is given at most."""
JITTER_FROM = 0.75
"""The least factor by which the time of a message that was sent again varies."""
JITTER_SPAN = 0.5
"""How much more that factor may be."""
JITTER_STEPS = 1009
"""How many different factors there are: a prime, so that even intervals don't give the same one each time."""
PIECE = 50
"""How many messages of a lane one look goes through."""
PIECE_SHARE = 10
"""Which share of half a dispatch timeout passes between two pieces of a lane: one in so many, PIECE_PAUSE at most."""
PIECE_PAUSE = 1_000_000
"""Microseconds between two pieces of a lane at most."""
