"""Tests of message headers: stored once per run, and given with every message of it that is to be sent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hephaestus_celery.core.execution.due import Due

HEADERS = '{"tenant":"acme","baggage":{"empty":[]}}'


@pytest.fixture
def carried(stand):
    return stand.start(message_headers=HEADERS)


def test_a_run_gives_the_headers_that_it_was_started_with(carried):
    assert carried.load().message_headers == HEADERS


def test_a_claim_gives_them(carried):
    assert carried.claim("a").run.message_headers == HEADERS


def test_a_claim_that_gives_a_part_of_the_run_gives_them(stand):
    run = stand.start(message_headers=HEADERS, initial=f'{{"text":"{"x" * 100_000}"}}')
    assert (run.load().message_headers, run.claim("a").run.message_headers) == (HEADERS, HEADERS)


def test_a_retry_that_is_due_gives_them(carried, stand):
    carried.claim("a")
    carried.retry("a")
    [entry] = stand.entries()
    assert (entry.kind, entry.message_headers) == (Due.RETRY, HEADERS)


def test_a_timeout_that_is_due_gives_them(carried, stand):
    carried.wait_at("a", timeout=0)
    [entry] = stand.entries()
    assert (entry.kind, entry.message_headers) == (Due.TIMEOUT, HEADERS)


def test_a_lost_message_gives_them(stand_with):
    stand = stand_with(dispatch_timeout=timedelta(milliseconds=20))
    stand.start(message_headers=HEADERS)
    [entry] = stand.entries()
    assert (entry.kind, entry.message_headers) == (Due.REDISPATCH, HEADERS)


def test_a_run_that_has_none_gives_none(stand):
    run = stand.start()
    claim = run.claim("a")
    run.retry("a")
    [entry] = stand.entries()
    assert (run.load().message_headers, claim.run.message_headers, entry.message_headers) == (None, None, None)
