"""Starts runs without a runtime: a driver makes them, its storage creates them."""

from __future__ import annotations


def create(driver, workflow, *, id, context=None):
    """A new run; gives its run id, and the messages that are to be sent."""
    new, messages = driver.new_run(workflow, id=id, context=context or {}, telemetry={})
    return new.run_id, messages if driver.storage.create(new) else []
