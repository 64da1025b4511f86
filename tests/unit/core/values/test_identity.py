"""Behaviour 2.6: ids, scopes, run ids."""

from __future__ import annotations

import uuid
import zlib

import pytest

from hephaestus_celery import Unique
from hephaestus_celery.core.values.identity import is_instance_id, is_run_id, new_run_id, shard, shard_of_run
from hephaestus_celery.core.values.inputs import is_asked_for

LOWER = "0190f0f0-0000-4000-8000-00000000000a"
ALL_ONES = (1 << 58) - 1


def run_id(*, milliseconds=1_700_000_000_000, instance_id="orderid::a1", random_bits=0):
    return new_run_id(milliseconds=milliseconds, instance_id=instance_id, random_bits=random_bits)


def refusal_of(value, scope="workflow"):
    with pytest.raises(ValueError, match="the value of an instance id") as refused:
        Unique("orderid", scope).instance_id(value, suffix="00000000")
    return str(refused.value)


@pytest.mark.parametrize("key", ["orderid", "a", "1", "order2", "order_id", "order-id", "0_", "a--"])
def test_a_key_is_lower_case_letters_digits_underscores_and_hyphens(key):
    assert Unique(key).key == key


@pytest.mark.parametrize(
    "key", ["", "Order", "_id", "-id", "order id", "orderid\n", "\norderid", "ordér", "a::b", "a:b", "a|b", "٣"]
)
def test_a_bad_key_is_refused(key):
    with pytest.raises(ValueError, match="must match") as refused:
        Unique(key)
    assert str(refused.value) == f"the key of Unique must match [a-z0-9][a-z0-9_-]* in full, not {key!r}"


def test_a_key_leaves_room_for_the_value_in_an_id_that_is_asked_for():
    longest = Unique("k" * 200, scope="none").instance_id("v" * 200, suffix="0123abcd")
    assert is_asked_for(longest)
    with pytest.raises(ValueError, match="the key of Unique has at most 200 characters, not 201"):
        Unique("k" * 201)


@pytest.mark.parametrize("key", [None, 5, b"orderid", ["orderid"]])
def test_a_key_that_is_no_string_is_refused(key):
    with pytest.raises(ValueError, match="the key of Unique must match") as refused:
        Unique(key)
    assert repr(key) in str(refused.value)


def test_the_scope_defaults_to_workflow():
    assert Unique("orderid").scope == "workflow"


@pytest.mark.parametrize("scope", ["workflow", "version", "global", "none"])
def test_there_are_four_scopes(scope):
    assert Unique("orderid", scope=scope).scope == scope


@pytest.mark.parametrize("scope", ["instance", None, "", "NONE", 5, ["none"]])
def test_an_unknown_scope_is_refused(scope):
    with pytest.raises(ValueError, match="scope of Unique") as refused:
        Unique("orderid", scope)
    assert str(refused.value) == (f"the scope of Unique must be one of workflow, version, global, none, not {scope!r}")


RULE = "1 to 200 printable characters without white space, | or ::"
VALUES = [
    "a1001", "1", LOWER, LOWER.upper(), "ORD-1001", "pi_3Mt", "ann@example.org", "é", "注文42", "٣", "🛒",
    ":", "a:", ":a", "a:b", "{a}", "[a]", "*?", "a/b", "a\\b", "%s", "%(id)s", "{0}", "\"'", "$type", "~", "x" * 200,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(("scope", "end"), [("workflow", ""), ("none", "::0badcafe")])
def test_an_id_is_key_and_what_people_have_as_value(value, scope, end):
    found = Unique("order_id", scope).instance_id(value, suffix="0badcafe")
    assert (found, is_instance_id(found)) == (f"order_id::{value}{end}", True)


@pytest.mark.parametrize(
    "text",
    ["", "a", "::a", "key::", "key::a::b", "key::a::0badcafe::0badcafe", "Key::a", "key::a b", "key::\ud800", None, 5],
)
def test_anything_else_is_no_instance_id(text):
    assert not is_instance_id(text)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a 1",
        "a1\n",
        "\na1",
        "a\t1",
        "a\u00a01",
        "a\u20281",
        "a|b",
        "a::b",
        "::",
        "a\x1fb",
        "a\x00",
        "a\x7f",
        "\ud800",
    ],
)
@pytest.mark.parametrize("scope", ["workflow", "none"])
def test_a_bad_value_is_refused_with_the_rule(value, scope):
    assert refusal_of(value, scope) == f"the value of an instance id must be {RULE}, not {value!r}"


def test_a_value_that_is_too_long_is_shown_in_part():
    assert refusal_of("x" * 100_000) == f"the value of an instance id must be {RULE}, not {'x' * 100_000!r:.80}..."


@pytest.mark.parametrize("value", [None, 5, b"a1", 1.5, uuid.UUID(LOWER)])
def test_a_value_that_is_no_string_is_refused_by_name(value):
    assert refusal_of(value) == (
        f"the value of an instance id must be a string, not {value!r} ({type(value).__name__})"
    )


def test_scope_none_adds_a_suffix():
    assert Unique("orderid", "none").instance_id("a1", suffix="0badcafe") == "orderid::a1::0badcafe"


@pytest.mark.parametrize("scope", ["workflow", "version", "global"])
def test_other_scopes_add_no_suffix(scope):
    assert Unique("orderid", scope).instance_id("a1", suffix="0badcafe") == "orderid::a1"


@pytest.mark.parametrize("random_bits", [0, ALL_ONES, 0x123456789ABCDEF])
def test_a_run_id_is_a_uuid_of_version_7(random_bits):
    assert uuid.UUID(run_id(random_bits=random_bits)).version == 7


@pytest.mark.parametrize("random_bits", [0, ALL_ONES, 0x123456789ABCDEF])
def test_a_run_id_has_the_variant_of_its_rfc(random_bits):
    assert uuid.UUID(run_id(random_bits=random_bits)).variant == uuid.RFC_4122


def test_a_run_id_begins_with_its_milliseconds():
    assert uuid.UUID(run_id(milliseconds=1_700_000_000_123)).int >> 80 == 1_700_000_000_123


def test_run_ids_sort_by_their_time():
    assert run_id(milliseconds=1_000, random_bits=ALL_ONES) < run_id(milliseconds=1_001)


def test_a_run_id_ends_with_the_hash_of_its_instance_id():
    assert shard_of_run(run_id(random_bits=ALL_ONES)) == zlib.crc32(b"orderid::a1") & 0xFFFF


@pytest.mark.parametrize("bit", range(58))
def test_every_random_bit_makes_another_run_id(bit):
    assert run_id(random_bits=1 << bit) != run_id()


def test_the_shard_of_an_instance_is_that_of_its_runs():
    assert shard("orderid::b2") == shard_of_run(run_id(instance_id="orderid::b2"))


def test_the_shard_has_16_bits():
    assert {shard(f"orderid::{number}") >> 16 for number in range(100)} == {0}


def test_a_run_id_is_recognised():
    assert is_run_id(run_id())


@pytest.mark.parametrize("text", ["orderid::a1", LOWER, run_id().upper(), run_id() + "\n", run_id()[:-1], None, 5, ""])
def test_anything_else_is_no_run_id(text):
    assert not is_run_id(text)
