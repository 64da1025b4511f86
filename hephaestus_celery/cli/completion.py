"""What a shell completes beside commands and options: the names of workflows."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem


def complete_workflows(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The stored names of the workflows of the application that ``-A`` names."""
    del parameter
    try:
        from hephaestus_celery.core.definition.registry import WORKFLOWS
        from hephaestus_celery.runners.celery.named_app import app_named

        app: Any = context.find_root().params.get("app")
        app = app_named(app) if isinstance(app, str) else app
        if app is None:
            return []
        app.loader.import_default_modules()
        names = sorted({workflow.family for workflow in WORKFLOWS.all()} | {each.name for each in WORKFLOWS.all()})
    except Exception:  # noqa: BLE001 - a shell that completes shows no errors
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
