"""Generated entries of the due set: with keys and references as users may write them, and texts that are none."""

from __future__ import annotations

from hypothesis import strategies as st

from hephaestus_celery.core.execution.due_items import (
    Deadline,
    Prune,
    PrunedRun,
    SettleDue,
    StepDue,
    Sweep,
    TimerDue,
    encode,
)
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.names import is_key

RUN = "01a226b4-835b-72e5-b452-007a4a9aa19a"

_hostile = st.text(alphabet="aé🛒#~:/\\\"'[]{},0123\x7f ", min_size=1, max_size=12)
keys = st.one_of(st.text(min_size=1, max_size=12), _hostile, st.sampled_from(["done", "été:1", "a#1", "~2"])).filter(
    is_key
)
activations = st.builds(Activation, keys, st.none() | st.integers(0, 10**6), st.integers(1, 10**6))
references = st.one_of(st.text(alphabet="0123456789abcdef", min_size=1, max_size=16), _hostile)
pruned_runs = st.builds(
    PrunedRun,
    _hostile,
    st.text(max_size=12).map(lambda text: text.replace("\0", "")),
    st.lists(_hostile, max_size=3).map(tuple),
)
due_items = st.one_of(
    st.builds(StepDue, activations),
    st.builds(TimerDue, activations, references),
    st.builds(Prune, st.none() | pruned_runs),
    st.just(Sweep()),
    st.just(Deadline()),
    st.builds(SettleDue, st.just("") | activations.map(str), references),
)
_PIECES = (
    *(
        "|",
        "||",
        "\1",
        "\1sweep",
        "\1settle",
        "\1deadline",
        "\1later",
        " #",
        " ~",
        "0",
        "1",
        "2",
        "01",
        "a",
        "é",
        "done",
        "\n",
        " ",
    ),
    *("[", "]", '"', '["a","b"]', '["a"]', '["a",1]', '["a","b",]', "{}", "null", ",", "\\", "\\/", "\\u00e9", "\x7f"),
)
_pieces = st.sampled_from(_PIECES)
odd_texts = st.one_of(
    st.lists(_pieces, max_size=8).map("".join),
    st.text(max_size=12),
    due_items.map(encode),
    st.tuples(due_items.map(encode), _pieces).map("".join),
)
"""Texts of items, of what may be taken for one, and of anything."""
