"""The way to the state store: what its URL and options may say, and certificates."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
from datetime import timedelta

import pytest
from heart import LONGEST_GAP, Heart
from redis.sentinel import SentinelManagedSSLConnection
from stage import eventually

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.embedded import find_server
from hephaestus_celery.exceptions import ConfigurationError, StorageError
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.store import RedisStorage


def client_of(url, **options):
    return connect(url, timeout=timedelta(seconds=2), options=options)


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("redis://localhost/shop", {}, "'shop' is not the number of a database"),
        ("redis://localhost/0;redis://other/0", {}, "is not the number of a database"),
        ("redis://localhost:port/0", {}, "Port could not be cast"),
        ("redis://localhost/0?virtual_host=1", {}, "unexpected keyword argument 'virtual_host'"),
        ("redis://localhost/0", {"ssl_ca_cert": "ca.pem"}, "unexpected keyword argument 'ssl_ca_cert'"),
        ("rediss://localhost/0?ssl_cert_reqs=maybe", {}, "Invalid SSL Certificate Requirements Flag: maybe"),
        ("sentinel://localhost:26379", {}, "needs hephaestus_state_options = {'master_name': ...}"),
    ],
)
def test_what_can_never_connect_is_refused_at_once(url, options, problem):
    with pytest.raises(ConfigurationError, match="hephaestus_state_options") as raised:
        client_of(url, **options)
    assert problem in str(raised.value)


@pytest.mark.parametrize("name", ["required", "CERT_REQUIRED"])
def test_certificates_are_asked_for_by_either_name(name):
    connection = client_of(f"rediss://localhost/0?ssl_cert_reqs={name}").connection_pool.make_connection()
    assert connection.cert_reqs is ssl.CERT_REQUIRED


def test_a_user_of_a_sentinel_url_is_the_servers():
    client = client_of("sentinel://shop:p%40ss@one:26379/2;sentinel://two:26379", master_name="main")
    arguments = client.connection_pool.connection_kwargs
    assert (arguments["username"], arguments["password"], arguments["db"]) == ("shop", "p@ss", 2)


def test_a_sentinel_may_lead_to_a_server_that_speaks_tls():
    client = client_of("sentinel://one:26379", master_name="main", ssl=True, ssl_ca_certs="ca.pem")
    assert client.connection_pool.connection_class is SentinelManagedSSLConnection


class Certificates:
    """An authority, and what it signs."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self._openssl("authority", "-subj", "/CN=tests", "-days", "2")

    def sign(self, name, *, address):
        """The options for a certificate for an address, with its key."""
        self._openssl(
            *(name, "-subj", f"/CN={name}", "-days", "2", "-addext", f"subjectAltName={address}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", str(self.authority), "-CAkey", str(self.folder / "authority.key")),
        )
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    @property
    def authority(self):
        return self.folder / "authority.pem"

    def _openssl(self, name, *options):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-keyout", str(self.folder / f"{name}.key"), "-out", str(self.folder / f"{name}.pem"), *options),
            ],
            check=True,
            capture_output=True,
        )


def start_tls_server(binary, certificates, folder):
    """The port of a server that speaks TLS only, and its process; None where this binary can't."""
    certificate, key = certificates.sign("server", address="IP:127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(str(binary), "--port", "0", "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""),
            *("--tls-port", str(port), "--tls-ca-cert-file", str(certificates.authority)),
            *("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "optional"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: process.poll() is not None or listens(port), what="the server is up or has given up")
    return (port, process) if process.poll() is None else None


def listens(port):
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    if shutil.which("openssl") is None:
        missing("the program openssl, which makes the certificates")
    return Certificates(tmp_path_factory.mktemp("certificates") / "signed")


@pytest.fixture(scope="module")
def tls_port(redis_url, certificates, tmp_path_factory):
    """A server that speaks TLS: the one that is used everywhere if it can, else one of the system."""
    candidates = [find_server(), *filter(None, map(shutil.which, ("valkey-server", "redis-server")))]
    for binary in candidates:
        started = start_tls_server(binary, certificates, tmp_path_factory.mktemp("tls"))
        if started is not None:
            port, process = started
            yield port
            process.kill()
            process.wait()
            return
    missing(f"a server that speaks TLS (Debian: redis-server); without it: {', '.join(map(str, candidates))}")


def missing(what):
    if os.environ.get("CI"):
        pytest.fail(f"this is CI, and there is not: {what}")
    pytest.skip(f"there is not: {what}")


@pytest.fixture
def storage_with(tls_port, namespace):
    """`storage_with(host=..., ssl_...=...)`: the state over TLS."""
    made = []

    def make(host="127.0.0.1", **options):
        made.append(RedisStorage(f"rediss://{host}:{tls_port}/0", namespace=namespace, options=options))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


def test_a_run_is_kept_over_tls(storage_with, certificates, drive):
    run = drive(storage_with(ssl_ca_certs=str(certificates.authority))).start()
    run.step("a")
    assert run.step("b").status_after == Status.COMPLETED


def test_a_run_is_kept_over_tls_from_an_event_loop_which_goes_on(storage_with, certificates, drive):
    storage = storage_with(ssl_ca_certs=str(certificates.authority))
    run = drive(storage).start()

    async def wait_and_read():
        calls = storage.aio()
        async with Heart() as heart:
            waits = [asyncio.create_task(calls.wait_finished(run.id, timeout=30)) for _ in range(20)]
            loaded = await asyncio.gather(*(calls.load(run.id) for _ in range(20)))
            assert {each.status for each in loaded} == {Status.PENDING}
            await asyncio.to_thread(run.cancel)
            assert await asyncio.gather(*waits) == [True] * 20
        return heart.busy

    assert asyncio.run(wait_and_read()) < LONGEST_GAP


@pytest.mark.parametrize("wrong", ["unknown authority", "another name"])
def test_on_an_event_loop_a_server_that_can_not_show_who_it_is_is_refused(storage_with, certificates, wrong):
    authority = {"ssl_ca_certs": str(certificates.authority)}
    storage = (
        storage_with()
        if wrong == "unknown authority"
        else storage_with(host="localhost", ssl_check_hostname=True, **authority)
    )
    with pytest.raises(StorageError, match="ssl_ca_certs"):
        asyncio.run(storage.aio().now())


def test_an_authority_of_its_own_may_stand_in_the_url(tls_port, certificates, namespace):
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={certificates.authority}"
    storage = RedisStorage(url, namespace=namespace)
    assert storage.now() > 0
    storage.close()


def refusal(storage):
    with pytest.raises(StorageError) as raised:
        storage.now()
    return str(raised.value)


def test_a_server_of_an_unknown_authority_is_refused(storage_with, tmp_path):
    other = Certificates(tmp_path / "other")
    for options in ({}, {"ssl_ca_certs": str(other.authority)}):
        message = refusal(storage_with(**options))
        assert "CERTIFICATE_VERIFY_FAILED" in message
        assert "ssl_ca_certs" in message


def test_a_server_of_another_name_is_refused(storage_with, certificates):
    message = refusal(storage_with(host="localhost", ssl_ca_certs=str(certificates.authority), ssl_check_hostname=True))
    assert "Hostname mismatch" in message
    assert "ssl_ca_certs" in message


def test_a_file_that_is_not_there_is_reported(storage_with):
    assert "ssl_ca_certs" in refusal(storage_with(ssl_ca_certs="nowhere.pem"))


@pytest.fixture
def clients_must_identify(storage_with, certificates):
    admin = storage_with(ssl_ca_certs=str(certificates.authority))._client
    admin.config_set("tls-auth-clients", "yes")
    certificate, key = certificates.sign("client", address="DNS:worker")
    identity = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    yield identity
    storage_with(ssl_ca_certs=str(certificates.authority), **identity)._client.config_set(
        "tls-auth-clients", "optional"
    )


def test_a_client_identifies_itself_where_it_must(storage_with, certificates, clients_must_identify):
    authority = {"ssl_ca_certs": str(certificates.authority)}
    assert storage_with(**authority, **clients_must_identify).now() > 0
    assert refusal(storage_with(**authority))
