"""Behaviour 2.5: which values may enter a run, and how the others are refused."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import uuid
from types import MappingProxyType
from zoneinfo import ZoneInfo

import pytest

from hephaestus_celery import DataError, HephaestusError
from hephaestus_celery.core.values.json_values import check_mapping, check_value

MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)  # noqa: DTZ001 - a naive one is carried too
ALLOWED = "allowed is JSON plus datetime, date, time, Decimal and UUID"


class Colour(enum.StrEnum):
    RED = "red"


class OldColour(str, enum.Enum):  # noqa: UP042 - the kind from before StrEnum, whose str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Plain(enum.Enum):
    ONE = 1


class Weight(float):
    pass


class Moment(dt.datetime):
    pass


class Silent:
    def __repr__(self):
        raise RuntimeError("no words")


class Nowhere(dt.tzinfo):
    def utcoffset(self, moment):
        return None


def refusal_of(value):
    """How `value` is refused, put where a message must point at it: `context.items[3].price`."""
    with pytest.raises(DataError) as refused:
        check_mapping({"items": [0, 1, 2, {"price": value}]}, "context")
    return str(refused.value)


CARRIED = [
    None,
    True,
    False,
    0,
    -1,
    10**4300 - 1,
    1 - 10**4300,
    1.5,
    -0.0,
    1e308,
    "",
    "text\n\x00 é 😀 \ud800",
    [],
    {},
    [1, [2, {"a": [None]}]],
    {"": 1, "a b": {"$type": "x"}},
    MOMENT,
    MOMENT.replace(tzinfo=dt.UTC),
    MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45))),
    MOMENT.replace(tzinfo=ZoneInfo("Europe/Vienna")),
    MOMENT.date(),
    MOMENT.time(),
    MOMENT.time().replace(tzinfo=dt.UTC),
    decimal.Decimal("1.10"),
    decimal.Decimal("Infinity"),
    decimal.Decimal("-1E+1000"),
    uuid.UUID(int=5),
]


@pytest.mark.parametrize("value", CARRIED, ids=lambda value: repr(value)[:40].encode("ascii", "replace").decode())
def test_a_value_that_can_be_carried_comes_back_equal(value):
    assert check_value(value, "context") == value


@pytest.mark.parametrize("value", CARRIED, ids=lambda value: repr(value)[:40].encode("ascii", "replace").decode())
def test_a_value_that_can_be_carried_keeps_its_type(value):
    assert type(check_value(value, "context")) is type(value)


def test_the_copy_is_plain():
    assert type(check_value(MappingProxyType({"a": 1}), "context")) is dict


def test_the_copy_shares_no_list_with_the_original():
    given = {"items": [1]}
    check_mapping(given, "context")["items"].append(2)
    assert given == {"items": [1]}


@pytest.mark.parametrize(
    ("value", "plain"), [(Colour.RED, "red"), (OldColour.RED, "red"), (Level.HIGH, 3), (Weight(1.5), 1.5)]
)
def test_a_subclass_of_a_plain_type_becomes_the_plain_value(value, plain):
    checked = check_value(value, "context")
    assert (checked, type(checked)) == (plain, type(plain))


@pytest.mark.parametrize("key", [Colour.RED, OldColour.RED])
def test_a_key_that_is_an_enum_becomes_its_value(key):
    (checked,) = check_mapping({key: 1}, "context")
    assert (checked, type(checked)) == ("red", str)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({1}, "{1} (set)"),
        (b"x", "b'x' (bytes)"),
        (1j, "1j (complex)"),
        (Plain.ONE, "<Plain.ONE: 1> (Plain)"),
        (dt.timedelta(1), "datetime.timedelta(days=1) (timedelta)"),
        (decimal.Decimal("NaN"), "Decimal('NaN') (Decimal)"),
        (decimal.Decimal("sNaN"), "Decimal('sNaN') (Decimal)"),
        (range(2), "range(0, 2) (range)"),
        (collections.deque([1]), "deque([1]) (deque)"),
        (Moment(2024, 1, 1), "Moment(2024, 1, 1, 0, 0) (Moment)"),
        (Silent(), "a Silent"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_be_carried_is_refused_with_its_path(value, shown):
    assert refusal_of(value) == f"context.items[3].price can't be carried: {shown}; {ALLOWED}"


@pytest.mark.parametrize(
    "value",
    [
        dt.time(12, tzinfo=ZoneInfo("Europe/Vienna")),
        dt.datetime(2024, 1, 1, tzinfo=Nowhere()),
    ],
    ids=["time", "datetime"],
)
def test_a_time_zone_without_an_offset_is_refused(value):
    assert refusal_of(value).startswith("context.items[3].price can't be carried: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), Weight("inf")])
def test_a_float_that_json_has_no_number_for_is_refused(value):
    assert refusal_of(value) == f"context.items[3].price can't be carried: {float(value)!r} is no JSON number"


@pytest.mark.parametrize("value", [10**4300, -(10**4300)], ids=["positive", "negative"])
def test_an_int_that_python_would_not_read_back_is_refused(value):
    assert refusal_of(value) == "context.items[3].price can't be carried: an int of more than 4300 digits"


def test_a_tuple_is_refused_because_it_would_come_back_as_a_list():
    assert refusal_of((1, 2)) == "context.items[3].price is a tuple, which would be read back as a list; pass a list"


@pytest.mark.parametrize("key", [1, None, True, (1, 2), b"x"])
def test_a_key_that_is_no_string_is_refused_with_its_path(key):
    assert refusal_of({key: 1}) == (
        f"context.items[3].price has the key {key!r} ({type(key).__name__}); keys must be strings"
    )


def test_a_long_value_is_shown_in_part():
    assert len(refusal_of(set(range(1000)))) < 250


@pytest.mark.parametrize("value", [None, [], "x", 5, [("a", 1)]])
def test_what_must_be_a_mapping_is_refused_when_it_is_none(value):
    with pytest.raises(DataError) as refused:
        check_mapping(value, "context")
    assert str(refused.value) == (f"context must be a mapping with string keys, not {value!r} ({type(value).__name__})")


def nested(depth, *, innermost=0):
    value = innermost
    for _ in range(depth):
        value = {"a": value}
    return value


def test_64_levels_below_the_first_are_carried():
    assert check_value(nested(65), "context") == nested(65)


def test_more_levels_are_refused():
    with pytest.raises(DataError, match=r"^context(\.a){30}.* is nested deeper than 64 levels"):
        check_value(nested(66), "context")


def test_a_list_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    assert refusal_of(loop).startswith("context.items[3].price[0][0]")


def test_a_mapping_that_contains_itself_twice_is_refused_at_once():
    loop = {}
    loop.update(a=loop, b=loop)
    assert refusal_of(loop).endswith("is nested deeper than 64 levels (or contains itself)")


def test_a_short_path_is_shown_in_full():
    loop = [[]]
    for _ in range(64):
        loop = [loop]
    with pytest.raises(DataError) as refused:
        check_value(loop, "")
    assert str(refused.value).startswith("[0][0][0]")


@pytest.mark.parametrize("kind", [HephaestusError, ValueError])
def test_a_data_error_is_both_ours_and_a_value_error(kind):
    with pytest.raises(kind):
        check_value({1}, "context")
