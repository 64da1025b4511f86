"""Dramatiq as a rival: pipelines on two worker processes with a thread each."""

from __future__ import annotations

from collections.abc import Sequence

from dramatiq import pipeline

from benchmarks.others.dramatiq_app import last, step
from benchmarks.others.protocol import STEPS, serve
from benchmarks.others.workers import workers


def _pipeline(mark: int | None) -> pipeline:
    # What a step gives is appended to the arguments of the next one.
    return pipeline([step.message(1), *(step.message() for _ in range(STEPS - 2)), last.message(mark)])


def _play() -> None:
    _pipeline(None).run().get_result(block=True, timeout=10_000)


def _send(marked: Sequence[int]) -> None:
    for mark in marked:
        _pipeline(mark).run()


if __name__ == "__main__":
    with workers("dramatiq", "benchmarks.others.dramatiq_app", "--processes", "2", "--threads", "1"):
        serve(play=_play, send=_send)
