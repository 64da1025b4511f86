"""The constants of the rules: every store goes by these, those that are written in Lua included."""

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
