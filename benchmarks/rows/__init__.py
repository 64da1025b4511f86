"""The rows of the benchmark, in the order of the budget table; what has no budget comes after it."""

from collections.abc import Mapping

from benchmarks.bench import Row
from benchmarks.rows import (
    burst,
    costs,
    emit,
    fan_out,
    growth,
    imports,
    join,
    latency,
    memory,
    others,
    processor,
    starts,
    stored,
)

ROWS: Mapping[str, Row] = {
    "costs": costs.row,
    "latency": latency.row,
    "burst": burst.row,
    "fan-out": fan_out.row,
    "starts": starts.row,
    "join": join.row,
    "stored": stored.row,
    "memory": memory.row,
    "emit": emit.row,
    "import": imports.row,
    "processor": processor.row,
    "lengths": latency.lengths,
    "contexts": growth.contexts,
    "long": growth.long,
    "workers": growth.workers,
    "threads-latency": latency.threads,
    "threads-burst": burst.threads,
    "unlisted-latency": latency.unlisted,
    "unlisted-burst": burst.unlisted,
    "others-latency": others.latency,
    "others-burst": others.burst,
}
