"""A program that calls reading commands one after the other in one process: ``python every_command.py JSON``.

JSON is a list of lists of words, for ``celery``. Before each command it prints a line that begins with ``#``.
"""

from __future__ import annotations

import json
import sys

import click
from celery.bin.celery import celery

for words in json.loads(sys.argv[1]):
    sys.stdout.write(f"# {' '.join(words)}\n")
    sys.stdout.flush()
    try:
        celery.main(list(words), prog_name="celery", standalone_mode=False, auto_envvar_prefix="CELERY")
    except click.ClickException as error:
        error.show()
    except SystemExit:
        pass
