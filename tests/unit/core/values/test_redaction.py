"""No password is shown: not by settings, nor by an error, nor by what stands behind an error."""

from __future__ import annotations

import traceback
from datetime import timedelta

import pytest
from celery import Celery

from hephaestus_celery import ConfigurationError, Hephaestus, Settings
from hephaestus_celery.core.values.redaction import hidden, hidden_options
from hephaestus_celery.storage.redis.client import connect

SECRET = "s3cr3t"
URLS = {
    "plain": f"redis://shop:{SECRET}@state:6379/0",
    "without user": f"redis://:{SECRET}@state:6379/0",
    "sentinels": f"sentinel://:{SECRET}@one:26379/0;sentinel://:{SECRET}@two:26379",
    "mistyped": f"redsi://:{SECRET}@state:6379/0",
    "slash": f"redis://:{SECRET}/{SECRET}@state:6379/0",
    "hash": f"redis://:{SECRET}#{SECRET}@state:6379/0",
    "question": f"redis://:{SECRET}?{SECRET}@state:6379/0",
    "at": f"redis://:{SECRET}@{SECRET}@state:6379/0",
    "slash in sentinels": f"sentinel://:{SECRET}/{SECRET}@one:26379/0;sentinel://two:26379",
    "query": f"redis://state:6379/0?password={SECRET}",
    "bad port": f"redis://:{SECRET}@state:port/0",
    "bad database": f"redis://:{SECRET}@state:6379/shop",
    "no scheme": f":{SECRET}@state:6379",
}


def resolve(app):
    with Hephaestus(app) as hephaestus:
        return hephaestus.settings


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_a_url_is_shown_without_its_password(url):
    assert SECRET not in hidden(url)
    assert "state" in hidden(url) or "one" in hidden(url)


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_settings_are_shown_without_passwords(url):
    options = {"password": SECRET, "sentinel_kwargs": {"password": SECRET}, "socket_timeout": 3, "url": url}
    settings = Settings(state_backend=url, state_options=options)
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert SECRET not in shown
        assert "socket_timeout" in shown
    assert SECRET not in str(hidden_options(options))
    assert SECRET in str(settings.state_backend)


@pytest.mark.parametrize(
    "name",
    ["mistyped", "slash", "hash", "question", "at", "slash in sentinels", "bad port", "bad database", "no scheme"],
)
def test_an_error_about_a_url_and_its_traceback_show_no_password(name):
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update(hephaestus_state_backend=URLS[name], hephaestus_state_options={"master_name": "main"})
    with pytest.raises(ConfigurationError) as raised:
        resolve(app)
    shown = "".join(traceback.format_exception(raised.value))
    assert SECRET not in shown
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("name", ["slash", "hash", "question", "at", "slash in sentinels"])
def test_the_error_for_a_password_that_must_be_escaped_says_how(name):
    with pytest.raises(ConfigurationError, match=r"write / as %2F, # as %23") as raised:
        connect(URLS[name], timeout=timedelta(seconds=1), options={"master_name": "main"})
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_an_escaped_password_is_taken_as_it_was_meant():
    client = connect("redis://shop:p%2Fa%23s%40s@state/0", timeout=timedelta(seconds=1), options={})
    assert client.connection_pool.connection_kwargs["password"] == "p/a#s@s"


@pytest.mark.parametrize("value", [["redis://:s3cr3t@a", "redis://:s3cr3t@b"], {"url": "redis://:s3cr3t@a"}, 5])
def test_a_backend_of_a_wrong_type_is_refused_without_showing_it(value):
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.hephaestus_state_backend = value
    with pytest.raises(ConfigurationError, match="hephaestus_state_backend must be") as raised:
        resolve(app)
    assert SECRET not in str(raised.value)
