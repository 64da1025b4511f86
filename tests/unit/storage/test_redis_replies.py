"""What scripts reply is read whichever version of a scheduler has written it."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.claims import Attempt
from hephaestus_celery.storage.redis.framing import named
from hephaestus_celery.storage.redis.replies import read_entries
from hephaestus_celery.storage.redis.scripts import FORMS

ENTRY = {
    "run": "r",
    "name": "shop.Order",
    "version": "1",
    "step": "a",
    "attempt": 1,
    "token": 1,
    "fence": "f",
    "seq": 4,
    "state": '{"s":"active","a":1,"m":3,"f":"f"}',
}
SEIZED = Attempt(
    run_id="r", activation=Activation("a"), number=1, max_attempts=3, fence="f", holder="task", lease=1_000_000
)


@pytest.mark.parametrize(
    ("kind", "due"),
    [("lapsed", Due.LEASE_EXPIRED), ("overran", Due.TIMED_OUT), *((each.value, each) for each in Due)],
)
def test_an_entry_that_another_version_has_handed_over_is_read(kind, due):
    [entry] = read_entries(json.dumps([{**ENTRY, "kind": kind}]).encode(), lease=1_000_000, holder="task")
    attempt = SEIZED if due in (Due.LEASE_EXPIRED, Due.TIMED_OUT) else None
    assert (entry.kind, entry.attempt, entry.sequence, entry.run) == (due, attempt, 4, None)


def test_a_reply_that_names_its_values_is_read_by_their_names():
    assert named([b"verdict", b"held", b"beat", b"5"]) == {"verdict": b"held", "beat": b"5"}


@pytest.mark.parametrize("reply", [[], [b"verdict"], [b"verdict", 1], [b"verdict", b"held", b"beat"], b"held", None])
@pytest.mark.parametrize("script", ["tick", "seize", "cancel", "candidates"])
def test_a_reply_of_values_without_names_is_none_of_ours(script, reply):
    assert FORMS[script]([b"verdict", b"held"])
    assert not FORMS[script](reply)
