"""Consumer groups of the event stream: what each has read, has in hands, and has missed.

Mirrored by `storage/redis/lua/events.lua` and the groups of Redis. Laws held here: an entry stays handed out until it is
acknowledged; a group misses nothing without a gap, and a gap is told again with the entry behind it until that is acknowledged.

The id of an entry is `<milliseconds>-<number>`: the number of its last event in the partition, so that a gap can be counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

NOTHING_READ = "0-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """An entry that was handed to a consumer, in microseconds since the epoch, and is not acknowledged."""

    consumer: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGroup:
    """A group: the id of the last entry that it ``read``, its entries in ``hands``, by id, and when it was last used.

    ``gaps`` holds, for an entry in hands before which the cap has taken others, the id that was read before those.
    ``acknowledged`` holds, for an entry in hands, the places of those of its events that are done with.
    """

    read: str
    used_at: int
    hands: Mapping[str, Handed] = field(default_factory=dict[str, Handed])
    gaps: Mapping[str, str] = field(default_factory=dict[str, str])
    acknowledged: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


def place_of(id: str) -> tuple[int, int]:
    """The time in milliseconds, and the number of the last event, in the id of an entry."""
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number)


def following(last: str, *, at: int, count: int) -> str:
    """The id of an entry of ``count`` events that follows ``last``, at a time in microseconds. Ids never go back."""
    milliseconds, number = place_of(last)
    return f"{max(milliseconds, at // 1000)}-{number + count}"


def before(id: str, *, count: int) -> str:
    """The id that a group has read, which begins with this entry of so many events."""
    milliseconds, number = place_of(id)
    return f"{milliseconds}-{number - count}"


def read_on(group: StreamGroup, ids: Sequence[str], *, first_count: int, consumer: str, now: int) -> StreamGroup:
    """The group after it read these entries, the next that are kept; the first of them has ``first_count`` events."""
    if not ids:
        return group
    hands = {**group.hands, **{place: Handed(consumer=consumer, at=now) for place in ids}}
    missed = place_of(ids[0])[1] - first_count > place_of(group.read)[1]
    gaps = {**group.gaps, ids[0]: group.read} if missed else group.gaps
    return replace(group, read=ids[-1], hands=hands, gaps=gaps)


def own_after(group: StreamGroup, after: str, *, consumer: str, limit: int) -> Sequence[str]:
    """Entries in the hands of a consumer, behind this id, the oldest first."""
    own = [
        place
        for place, handed in group.hands.items()
        if handed.consumer == consumer and place_of(place) > place_of(after)
    ]
    return sorted(own, key=place_of)[:limit]


def idle_from(group: StreamGroup, *, since: int, limit: int) -> Sequence[str]:
    """Entries that nobody has acknowledged since they were handed out at ``since`` or before."""
    return sorted((place for place, handed in group.hands.items() if handed.at <= since), key=place_of)[:limit]


def hand(group: StreamGroup, ids: Iterable[str], *, consumer: str, now: int) -> StreamGroup:
    """These entries are handed to a consumer, again or from another."""
    return replace(group, hands={**group.hands, **{place: Handed(consumer=consumer, at=now) for place in ids}})


def acknowledge(group: StreamGroup, ids: Iterable[str]) -> StreamGroup:
    """These entries are done with; those that are not in hands change nothing."""
    done = set(ids)
    return replace(
        group,
        hands={place: handed for place, handed in group.hands.items() if place not in done},
        gaps={place: read for place, read in group.gaps.items() if place not in done},
        acknowledged={place: places for place, places in group.acknowledged.items() if place not in done},
    )


def acknowledge_in_part(group: StreamGroup, id: str, places: Iterable[int]) -> StreamGroup:
    """These events of an entry in hands are done with."""
    if id not in group.hands:
        return group
    return replace(group, acknowledged={**group.acknowledged, id: tuple(sorted(places))})
