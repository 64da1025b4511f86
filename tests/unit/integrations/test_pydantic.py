"""Types of data by pydantic: what is stored of an object or a mapping, how it is read, and what is said of one that does not fit."""

from __future__ import annotations

import datetime as dt
import typing
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from hephaestus_celery import DataError
from hephaestus_celery.core.values.data_types import accepted, overlaid, read_as
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.integrations.pydantic import data_type
from hephaestus_celery.storage import codec

BERLIN = dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)


class Line(BaseModel):
    price: Decimal
    count: int = 1


class Order(BaseModel):
    id: UUID
    placed: dt.datetime
    lines: list[Line]
    note: str | None = None


@dataclass
class Receipt:
    number: int
    tags: list[str] = field(default_factory=list)


class Parcel(TypedDict):
    weight: int
    label: NotRequired[str]


class Point(typing.TypedDict):
    x: int


class Box(typing.TypedDict, total=False):
    corner: typing.Required[Point]
    other: list[Point]


ORDER = {"id": UUID(int=7), "placed": BERLIN, "lines": [{"price": Decimal("1.10"), "count": 2}], "note": None}


def stored(declared, given, path="context"):
    return accepted(data_type(declared), given, path)


def read(declared, found):
    return read_as(data_type(declared), found, what="the result of step s", path="steps.s", version="version 1 of f")


def there_and_back(declared, given):
    text = codec.encode(stored(declared, given))
    return read(declared, codec.decode(text))


def refusal(declared, given, path="context"):
    with pytest.raises(DataError) as refused:
        stored(declared, given, path)
    return str(refused.value)


def test_an_object_and_a_mapping_are_stored_alike():
    assert stored(Order, ORDER) == stored(Order, Order.model_validate(ORDER)) == ORDER
    assert stored(Receipt, Receipt(3)) == stored(Receipt, {"number": 3}) == {"number": 3, "tags": []}
    assert stored(Parcel, {"weight": "3"}) == {"weight": 3}


def test_dates_decimals_and_uuids_stay_what_they_are():
    found = codec.decode(codec.encode(stored(Order, ORDER)))
    assert found == ORDER
    assert found["placed"].tzinfo == BERLIN.tzinfo
    assert found["placed"].fold == 1


def test_what_is_read_equals_what_was_given():
    order = Order.model_validate(ORDER)
    assert there_and_back(Order, order) == order
    assert there_and_back(Receipt, Receipt(3, ["a"])) == Receipt(3, ["a"])
    assert there_and_back(Parcel, {"weight": 3}) == {"weight": 3}


def test_texts_of_json_are_read_by_the_type():
    text = {"id": str(UUID(int=7)), "placed": "2026-01-01T00:00:00Z", "lines": [{"price": "1.10"}]}
    found = stored(Order, text)
    assert found["id"] == UUID(int=7)
    assert found["placed"] == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert found["lines"] == [{"price": Decimal("1.10"), "count": 1}], "with the defaults of that time"


class Shade(Enum):
    RED = "r"


class Size(StrEnum):
    LARGE = "l"


class Wide(BaseModel):
    shade: Shade = Shade.RED
    size: Size = Size.LARGE
    path: Path = Path("/tmp")
    length: dt.timedelta = dt.timedelta(seconds=90)
    names: set[str] = {"a"}
    ids: set[UUID] = {UUID(int=1)}
    pair: tuple[int, Decimal] = (1, Decimal(2))
    by_number: dict[int, Decimal] = {1: Decimal(3)}
    anything: Any = None
    data: bytes = b"x"


def test_other_types_are_stored_as_their_json():
    assert stored(Wide, Wide()) == {
        "shade": "r",
        "size": "l",
        "path": "/tmp",
        "length": "PT1M30S",
        "names": ["a"],
        "ids": [UUID(int=1)],
        "pair": [1, Decimal(2)],
        "by_number": {"1": Decimal(3)},
        "anything": None,
        "data": "x",
    }
    assert there_and_back(Wide, Wide(anything={"at": BERLIN})) == Wide(anything={"at": BERLIN})


class Aliased(BaseModel):
    order_id: int = Field(alias="orderId")
    total: int = Field(validation_alias=AliasChoices("sum", "total_cents"), serialization_alias="amount")


def test_fields_are_stored_by_their_names_and_given_by_name_or_alias():
    wanted = {"order_id": 1, "total": 2}
    assert stored(Aliased, {"orderId": 1, "sum": 2}) == wanted
    assert stored(Aliased, {"order_id": 1, "total_cents": 2}) == wanted
    assert stored(Aliased, wanted) == wanted
    assert there_and_back(Aliased, Aliased(orderId=1, sum=2)) == Aliased(orderId=1, sum=2)


def test_a_field_that_was_renamed_is_read_by_an_alias_of_its_old_name():
    class Renamed(BaseModel):
        customer: str | None = Field(None, validation_alias=AliasChoices("customer", "client"))

    assert read(Renamed, {"client": "Ada"}).customer == "Ada"


def test_extra_fields_are_dropped_kept_or_refused_as_the_type_says():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        x: int

    class Closed(BaseModel):
        model_config = ConfigDict(extra="forbid")
        x: int

    assert stored(Line, {"price": 1, "more": 2}) == {"price": Decimal(1), "count": 1}
    assert stored(Open, {"x": 1, "at": BERLIN}) == {"x": 1, "at": BERLIN}
    assert refusal(Closed, {"x": 1, "more": 2}).startswith("context.more: Extra inputs are not permitted")


def test_computed_fields_are_not_stored_and_are_there_when_it_is_read():
    class Total(BaseModel):
        model_config = ConfigDict(extra="forbid")
        net: int

        @computed_field
        @property
        def gross(self) -> int:
            return self.net * 2

    assert stored(Total, Total(net=2)) == {"net": 2}
    assert there_and_back(Total, Total(net=2)).gross == 4


class Login(BaseModel):
    user: str
    password: SecretStr


def test_a_secret_is_refused_where_its_type_does_not_say_how_it_is_stored():
    told = refusal(Login, Login(user="ann", password="hunter2"))
    assert told.startswith("context.password: is a SecretStr, which would be stored as asterisks")
    assert "hunter2" not in told
    assert stored(Login, {"user": "ann", "password": ""}) == {"user": "ann", "password": ""}

    class Shown(Login):
        @field_serializer("password", when_used="json")
        def reveal(self, value: SecretStr) -> str:
            return value.get_secret_value()

    assert stored(Shown, {"user": "ann", "password": "hunter2"}) == {"user": "ann", "password": "hunter2"}


def test_each_problem_is_told_with_its_path():
    told = refusal(Order, {"id": "x", "placed": BERLIN, "lines": [{"price": 1}, {"price": "much", "count": 1}]})
    assert told.startswith("context.id: Input should be a valid UUID")
    assert "; context.lines[1].price: Input should be a valid decimal [decimal_parsing, not 'much' (str)]" in told
    assert told.endswith("(expected Order)")


def test_the_error_of_pydantic_is_the_cause():
    with pytest.raises(DataError) as refused:
        stored(Receipt, {"number": "x"})
    assert [problem["type"] for problem in refused.value.__cause__.errors()] == ["int_parsing"]


def test_what_is_no_mapping_and_no_object_of_the_type_is_refused():
    assert refusal(Order, [1]).startswith(
        "context: Input should be a valid dictionary or instance of Order [model_type"
    )
    assert refusal(Order, Receipt(1)).startswith("context: Input should be a valid dictionary or instance of Order")
    assert refusal(Parcel, Receipt(1)).startswith("context: Input should be a valid dictionary")
    assert refusal(Receipt, {1: 2}).startswith("context")


def test_an_object_whose_fields_do_not_fit_is_refused():
    assert refusal(Receipt, Receipt("seven")).startswith("context.number: Input should be a valid integer")
    assert refusal(Line, Line.model_construct(price="much")).startswith(
        "context.price: Input should be a valid decimal"
    )


def test_a_message_is_bounded_and_one_line():
    class Many(BaseModel):
        values: list[int]

    told = refusal(Many, {"values": ["x" * 10_000] * 10_000})
    assert len(told) < 6_000
    assert "and 9,990 more" in told
    told = refusal(Line, {"price": "a\nb\x1b[31m\u202e", "count": 1})
    assert told.isprintable()


def test_a_hostile_key_does_not_get_into_a_message_as_it_is():
    class Closed(BaseModel):
        model_config = ConfigDict(extra="forbid")

    told = refusal(Closed, {"a\nb" * 10_000: 1})
    assert told.isprintable()
    assert len(told) < 1_000


def test_inputs_that_the_type_hides_are_not_told():
    class Hidden(BaseModel):
        model_config = ConfigDict(hide_input_in_errors=True)
        card: int

    assert "4111x" not in refusal(Hidden, {"card": "4111x"})


def test_a_validator_may_raise_anything():
    class Odd(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError(value)

    assert refusal(Odd, {"x": 1}) == "context can't be validated: Odd raised KeyError: 1"
    with pytest.raises(
        DataError, match="the result of step s does not fit Odd, as version 1 of f declares it"
    ) as refused:
        read(Odd, {"x": 1})
    assert refused.value.stored


CALLS: list[int] = []


class Counted(BaseModel):
    x: Annotated[int, BeforeValidator(lambda value: CALLS.append(value) or value)]


def test_validators_run_once():
    stored(Counted, {"x": 1})
    assert CALLS == [1]
    read(Counted, {"x": 1})
    assert CALLS == [1, 1]


def test_a_strict_type_takes_from_json_what_json_has_no_types_for():
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        tags: set[str]
        shade: Shade
        at: dt.datetime
        count: int

    one = Strict(tags={"a"}, shade=Shade.RED, at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), count=1)
    assert there_and_back(Strict, one) == one
    assert stored(Strict, {"tags": ["a"], "shade": "r", "at": "2026-01-01T00:00:00Z", "count": 1})["count"] == 1
    assert refusal(Strict, {"tags": ["a"], "shade": "r", "at": BERLIN, "count": "1"}).startswith("context.count: ")


def test_bytes_are_read_back_where_they_are_written_as_base64():
    class Blob(BaseModel):
        model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
        data: bytes

    assert there_and_back(Blob, Blob(data=b"\xff\x00")) == Blob(data=b"\xff\x00")


def test_what_can_not_be_stored_is_refused():
    class Loose(BaseModel):
        x: Any

    around: list[Any] = []
    around.append(around)
    assert refusal(Loose, Loose(x=around)).startswith("context: can't be stored: Circular reference")
    assert refusal(Loose, Loose(x=object())).startswith("context: can't be stored: Unable to serialize")
    assert refusal(Loose, Loose(x=float("nan"))).startswith("context.x can't be carried: nan")
    deep: Any = 1
    for _ in range(90):
        deep = [deep]
    assert "nested deeper than 64 levels" in refusal(Loose, Loose(x=deep))


def test_a_typed_dict_of_typing_is_taken_on_every_python():
    assert stored(Box, {"corner": {"x": "1"}}) == {"corner": {"x": 1}}
    assert stored(Box, {"corner": {"x": 1}, "other": [{"x": 2}]}) == {"corner": {"x": 1}, "other": [{"x": 2}]}
    assert refusal(Box, {"other": []}).startswith("context.corner: Field required [missing]")


class Card(BaseModel):
    kind: Literal["card"]
    number: str


class Cash(BaseModel):
    kind: Literal["cash"]


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]


@pydantic_dataclass
class Checked:
    x: int


def test_unions_generic_models_and_dataclasses_of_pydantic_are_types_too():
    means = Annotated[Card | Cash, Field(discriminator="kind")]
    assert there_and_back(means, Cash(kind="cash")) == Cash(kind="cash")
    assert data_type(means).holds(Cash(kind="cash"))
    assert refusal(means, {"kind": "card"}).startswith("context.card.number: Field required")
    assert there_and_back(Page[int], Page[int](items=[1])) == Page[int](items=[1])
    assert there_and_back(Checked, Checked(x=1)) == Checked(x=1)
    assert there_and_back(RootModel[dict[str, int]], {"a": "1"}).root == {"a": 1}


def test_a_model_whose_json_is_no_mapping_is_refused():
    assert refusal(RootModel[list[int]], RootModel[list[int]]([1])).startswith("context must be a mapping")


@pytest.mark.parametrize("declared", [int, str, list[int], None, Literal["a"], "Order", int | Order])
def test_a_type_that_is_none_of_these_is_refused(declared):
    with pytest.raises(TypeError, match="its type is a pydantic model, a dataclass or a TypedDict"):
        data_type(declared)


def test_changes_are_laid_over_what_was_stored_by_name_or_alias():
    known = data_type(Aliased)
    before = {"order_id": 1, "total": 2}
    assert overlaid(known, before, {"orderId": 5}, "context") == {"order_id": 5, "total": 2}
    assert overlaid(known, before, {"total": 7}, "context") == {"order_id": 1, "total": 7}
    assert overlaid(known, before, Aliased(orderId=8, sum=9), "context") == {"order_id": 8, "total": 9}
    with pytest.raises(DataError, match=r"context\.order(_id|Id): "):
        overlaid(known, before, {"orderId": "x"}, "context")
    with pytest.raises(DataError, match="valid dictionary"):
        overlaid(known, before, [1], "context")


def test_what_is_stored_may_always_be_stored():
    for declared, given in ((Order, ORDER), (Wide, Wide()), (Aliased, {"orderId": 1, "sum": 2})):
        found = stored(declared, given)
        assert check_mapping(found, "x") == found
