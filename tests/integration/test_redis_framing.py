"""Whatever is stored of a run is read back as it was, or a ``StorageError`` says that it can't be: never something else."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.queries import DataKind, Query
from hephaestus_celery.storage.redis.framing import reading, unpacked
from tests.support.script_parts import parts_of

RUN, OTHER = "01a226b4-835b-72e5-b452-007a4a9aa19a", "01a226b6-0375-7dd7-915b-0f2a6bbbbdd4"

texts = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="\n\r\0\x1f0123456789,- é注🛒", max_size=40),
    st.sampled_from(
        [
            "",
            "\n",
            "\x1f",
            "12,3",
            f"{RUN} 3,4\n",
            f"{OTHER} 1\nx",
            f"{OTHER} \n",
            "late",
            "r:a",
            '{"s":"active"}',
            "s:a",
        ]
    ),
)
blobs = st.one_of(texts.map(str.encode), st.binary(max_size=20), st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80"]))
several = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def pack(client):
    """``pack(values)``: a reply about :data:`RUN`, as the scripts on a real server pack it."""
    prelude = parts_of("load")
    source = (
        f"{prelude}\nlocal values = {{}}\nfor i = 3, #ARGV do values[#values + 1] = ARGV[i] end\nreturn packed(values)"
    )
    return lambda values: client.eval(source, 5, *"abcde", "prefix:", json.dumps({"run_id": RUN}), *values)


@several
@given(values=st.lists(blobs, max_size=8))
def test_what_a_script_packs_is_unpacked_as_it_was_or_not_at_all(pack, values):
    packed = pack(values)
    try:
        expected = [value.decode() for value in values]
    except UnicodeDecodeError:
        with pytest.raises(StorageError), reading(RUN):
            unpacked(packed, RUN)
    else:
        assert unpacked(packed, RUN) == expected


@several
@given(values=st.lists(blobs, max_size=8), data=st.data())
def test_a_reply_of_another_length_or_another_run_is_refused(pack, values, data):
    packed = pack(values)
    cut = data.draw(st.integers(0, len(packed) - 1), label="cut")
    for broken in (
        packed[:cut],
        packed + data.draw(st.binary(min_size=1, max_size=3)),
        packed.replace(RUN.encode(), b"", 1),
    ):
        with pytest.raises(StorageError), reading(RUN):
            unpacked(broken, RUN)
    with pytest.raises(StorageError), reading(OTHER):
        unpacked(packed, OTHER)


@several
@given(
    initial=texts,
    config=texts.filter(bool),
    results=st.lists(texts.filter(bool), min_size=2, max_size=2),
    metadata=texts.filter(bool),
    data=texts.filter(lambda text: text not in ("", "{}")),
    header=texts,
    tags=st.lists(texts, max_size=3, unique=True),
)
def test_every_text_of_a_run_is_read_as_it_was_written(  # noqa: PLR0917 - each is another place of a run
    stand, initial, config, results, metadata, data, header, tags
):
    erase(stand)
    edges = {("a", "ok"): ["b"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]}
    run = stand.start(edges, initial=initial, config=config, header=header, tags=tags)
    run.step("a", result=results[0], metadata=metadata)
    run.step("b", result=results[1])
    run.wait_at("c")
    run.deliver("go", data)
    claim = run.claim("c", predecessors=["b", "a"])
    loaded = run.load()
    for seen in (claim.run, loaded):
        assert (seen.initial, seen.header) == (initial, header)
        assert seen.results == {"a": results[0], "b": results[1]}
        assert (seen.metadata, seen.configs) == ({"a": metadata}, {"a": config})
    assert claim.data == data
    storage = stand.storage
    assert storage.read_initial(run.id) == initial
    assert storage.read_data(run.id, DataKind.RESULT, ["b", "none", "a"]) == {"a": results[0], "b": results[1]}
    assert storage.read_data(run.id, DataKind.METADATA, ["a"]) == {"a": metadata}
    assert storage.read_data(run.id, DataKind.CONFIG, ["a"]) == {"a": config}
    [(listed, summary)] = storage.list_runs(Query())[0]
    assert (listed, list(summary.tags)) == (run.id, tags)
    cancelled = run.cancel(reason=data)
    assert (cancelled.run.cancel_reason, cancelled.run.results) == (data, loaded.results)


@several
@given(blob=st.binary(min_size=1, max_size=12).filter(lambda blob: not is_text(blob)), data=st.data())
def test_bytes_that_are_no_text_are_a_storage_error_that_is_not_tried_again(stand, client, blob, data):
    erase(stand)
    run = stand.start({("a", "ok"): ["b"], ("b", "ok"): ["done"]}, config='{"n":1}')
    run.step("a", result='{"n":1}', metadata='{"n":2}')
    field = data.draw(st.sampled_from(["i", "h", "r:a", "m:a", "c:a", "s:a", "name", "x:\udcff"]), label="field")
    keys = stand.storage.keys.of_run(run.id)
    client.hset(keys.run, field.encode(errors="surrogateescape"), blob)
    client.rpush(keys.history, b"1||||" + blob)
    calls = {
        "history": run.history,
        "load": run.load,
        "claim": lambda: run.claim("b"),
        "initial": lambda: stand.storage.read_initial(run.id),
        "results": lambda: stand.storage.read_data(run.id, DataKind.RESULT, ["a"]),
        "states": lambda: stand.storage.read_states(run.id),
        "list": lambda: stand.storage.list_runs(Query()),
    }
    errors = {name: error for name, call in calls.items() if (error := error_of(call)) is not None}
    assert errors.keys() >= {"history", *({"claim", "list"} if field == "name" else {"load", "claim"})}
    assert {(error.transient, run.id in str(error)) for error in errors.values()} == {(False, True)}


def error_of(call):
    """The ``StorageError`` that a call ends in, None where there is none; any other comes out."""
    try:
        call()
    except StorageError as error:
        return error
    return None


def is_text(blob):
    try:
        blob.decode()
    except UnicodeDecodeError:
        return False
    return True


def erase(stand):
    """Leave the storage as empty as it was, for the next example."""
    client = stand.storage._client
    for key in client.scan_iter(f"{stand.storage.keys.partition(0)}*", count=1000):
        client.delete(key)
