"""What is known of a start that raised ``StorageError``: whether its run is stored."""

from __future__ import annotations

import os
import signal
import socket
from datetime import timedelta

import pytest

from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.redis.store import RedisStorage

TIMEOUT = timedelta(seconds=0.5)


def refusal(start):
    with pytest.raises(StorageError) as raised:
        start()
    return raised.value


def test_a_start_that_was_never_sent_has_stored_nothing(namespace, drive):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    storage = RedisStorage(f"redis://127.0.0.1:{port}/0", namespace=namespace, timeout=TIMEOUT)
    assert refusal(lambda: drive(storage).start()).stored is False
    storage.close()


def test_of_a_start_that_got_no_answer_nothing_is_known(namespace, drive):
    with EmbeddedServer() as server:
        storage = RedisStorage(server.url, namespace=namespace, timeout=TIMEOUT)
        stand = drive(storage)
        stand.start()
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            assert refusal(lambda: stand.start(instance_id="order::b")).stored is None
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
        storage.close()


def test_a_start_that_a_full_server_refused_has_stored_nothing(namespace, drive):
    with EmbeddedServer() as server:
        storage = RedisStorage(server.url, namespace=namespace)
        storage._client.config_set("maxmemory", "1")
        assert refusal(lambda: drive(storage).start()).stored is False
        assert not list(storage._client.scan_iter(f"{namespace}:*:run:*"))
        storage.close()
