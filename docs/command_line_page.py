"""The page of the command line: each command with its arguments, options and examples, read from the commands."""

from __future__ import annotations

import re

import click

from hephaestus_celery.cli.exit_codes import MEANINGS
from hephaestus_celery.cli.plugin import hephaestus

_HEAD = """\
# Command line

`celery -A shop hephaestus COMMAND` sees, starts and steers the runs of an application, with nothing installed but the package.
`-A` names the application as for any other command of Celery. Every command explains itself with `--help`.

- **RUN** is an instance id (`orderid::a1001`), a run id, or the beginning of a run id. A beginning has 8 characters or more, and
  no other run has it; otherwise the command names the runs that it may mean, ten at most. The first 8 characters are the same
  for about a minute.
- **WORKFLOW** is the stored name, or the class where that is unambiguous.
- `--json` prints one JSON document with the field names of `Instance`, `HistoryEntry` and so on. Steps are named by their keys,
  workflows by their stored names, and times are ISO 8601 in UTC.
- On a terminal there are tables, colours and ages. In a pipe there are no colours, nothing is cut off, and times are ISO 8601 in
  UTC. `NO_COLOR` and `celery --no-color` turn colours off, `--wide` keeps lines whole, `-q` prints ids alone.
- A command that acts on many runs takes the filters of `list` in place of RUN. It asks first, unless `--yes`; where no terminal can
  be asked, it does nothing and exits with 2. It says what it has done and refused, with `--json` as `{"done": 3, "refused": {RUN: reason}}`.
  If the store goes away on the way, what was done stays, and the same command goes on with the rest.
- What a run holds can't disturb a terminal: control characters and the like are shown escaped.
- An error is one sentence on standard error, and the exit code says what kind it is.
- Each option may be set by the environment: `CELERY_HEPHAESTUS_LIST_LIMIT=20` is `list --limit 20`.

## Exit codes

| code | meaning |
| --- | --- |
"""
_COMPLETION = """\

## Completion

Shells complete commands, options, statuses and the names of workflows, as click does it for all of `celery`. Switch it on in the
start-up file of the shell:

| shell | line |
| --- | --- |
| bash | `eval "$(_CELERY_COMPLETE=bash_source celery)"` in `~/.bashrc` |
| zsh | `eval "$(_CELERY_COMPLETE=zsh_source celery)"` in `~/.zshrc` |
| fish | `_CELERY_COMPLETE=fish_source celery \\| source` in `~/.config/fish/completions/celery.fish` |
"""


def render() -> str:
    """Exit codes, completion, then a section for each command."""
    text = _HEAD + "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items()) + _COMPLETION
    root = click.Context(click.Group("celery"), info_name="celery -A shop")
    group = click.Context(hephaestus, info_name="hephaestus", parent=root)
    for name in hephaestus.list_commands(group):
        command = hephaestus.get_command(group, name)
        if command is not None:
            text += _section(command, click.Context(command, info_name=name, parent=group))
    return text


def _section(command: click.Command, context: click.Context) -> str:
    usage = " ".join([*command.collect_usage_pieces(context)])
    lines = ["", f"## `{context.info_name}`", "", f"`{context.command_path} {usage}`", ""]
    lines += [_escaped(paragraph) + "\n" for paragraph in _paragraphs((command.help or "").replace("\b", ""))]
    options = [
        record for each in command.get_params(context) if (record := each.get_help_record(context)) and record[1]
    ]
    if options:
        lines += ["| option | meaning |", "| --- | --- |"]
        lines += [f"| `{_escaped(names)}` | {_escaped(meaning)} |" for names, meaning in options]
    examples = re.findall(r"^  (celery .*)$", command.epilog or "", re.MULTILINE)
    if examples:
        lines += ["", "<!-- not run: examples of a shell -->", "```text", *examples, "```"]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())]


def _escaped(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
