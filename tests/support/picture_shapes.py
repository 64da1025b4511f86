"""Large graphs to lay out."""

from __future__ import annotations

import itertools
import random

from hephaestus_celery.core.definition.layout_values import Box, Link


def chain(count):
    return _made(count, [(number, number + 1) for number in range(count - 1)])


def fan(count):
    between = range(1, count - 1)
    return _made(count, [*((0, each) for each in between), *((each, count - 1) for each in between)])


def lanes(count):
    pairs = []
    for lane in range((count - 2) // 10):
        steps = [0, *range(1 + lane * 10, 11 + lane * 10), count - 1]
        pairs += itertools.pairwise(steps)
    return _made(count, pairs)


def layers(count):
    pairs = [(number, number // 5 * 5 + 5 + other) for number in range(count - 5) for other in range(5)]
    return _made(count, [pair for pair in pairs if pair[1] < count])


def tangle(count):
    chance = random.Random(7)
    near = [(chance.randrange(max(0, number - 40), number), number) for number in range(1, count)]
    far = [(number, min(count - 1, number + chance.randrange(1, 60))) for number in range(0, count - 1, 2)]
    return _made(count, [*near, *far])


def escapes(count):
    """A chain of which every step may end it all."""
    return _made(count, [(number, other) for number in range(count - 1) for other in {number + 1, count - 1}])


def shapes():
    return [chain, fan, lanes, layers, tangle, escapes]


def _made(count, pairs):
    boxes = [Box(key=str(number), left=80, right=80, height=50) for number in range(count)]
    return boxes, [Link(source=str(a), target=str(b)) for a, b in dict.fromkeys(pairs)]
