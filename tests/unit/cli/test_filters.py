"""The filters of ``list`` on the command line are those of the call."""

from __future__ import annotations

from hephaestus_celery.cli.commands.list_runs import list_runs
from hephaestus_celery.client.listing import FILTERS


def test_every_filter_of_list_is_an_option_with_dashes():
    options = {name for parameter in list_runs.params for name in parameter.opts}
    assert {f"--{name.replace('_', '-')}" for name in FILTERS} <= options
