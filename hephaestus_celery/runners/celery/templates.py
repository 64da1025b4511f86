"""Templates of messages: the JSON text that kombu made of one, with slots for ids and other values."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass

from hephaestus_celery.runners.celery.dispatch import argsrepr
from hephaestus_celery.runners.messages import Message

_encode = json.JSONEncoder().encode  # json.dumps takes three times as long for a text
_MARK = re.compile(r'"<hephaestus (\w+)>"')
"""Marks the place of a slot in the text of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTemplate:
    """A message's JSON text, cut at the values of the message: ``slots`` names the values between the ``pieces``.

    ``tail`` is the text of the body behind the arguments.
    """

    list: str
    pieces: tuple[str, ...]
    slots: tuple[str, ...]
    tail: str

    def fill(self, message: Message, *, parent: str | None, tag: str) -> str:
        """The text that is put on the list."""
        values = {
            "body": f'"{base64.b64encode(f"[{_arguments(message)}{self.tail}".encode()).decode()}"',
            "name": _encode(message.task_name),
            "task": _encode(message.task_id),
            "run": f'"{message.run_id}"',
            "parent": _encode(parent),
            "shown": _encode(argsrepr(message)),
            "tag": f'"{tag}"',
        }
        parts = [self.pieces[0]]
        for slot, piece in zip(self.slots, self.pieces[1:], strict=True):
            parts += values[slot], piece
        return "".join(parts)


def template_of(queue: str, text: str, message: Message) -> MessageTemplate | None:
    """A template from the text of one message; None if its format is not known here."""
    try:
        envelope = json.loads(text)
        body = base64.b64decode(envelope["body"]).decode()
        headers, properties = envelope["headers"], envelope["properties"]
        if headers["task"] != message.task_name:
            return None
        headers.update(
            task=_mark("name"),
            id=_mark("task"),
            root_id=_mark("run"),
            parent_id=_mark("parent"),
            argsrepr=_mark("shown"),
        )
        properties.update(correlation_id=_mark("task"), delivery_tag=_mark("tag"))
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    if "argsrepr" in properties:
        properties["argsrepr"] = _mark("shown")
    arguments = _arguments(message)
    if not body.startswith(f"[{arguments}"):
        return None
    parts = _MARK.split(json.dumps({**envelope, "body": _mark("body")}))
    return MessageTemplate(
        list=queue, pieces=tuple(parts[::2]), slots=tuple(parts[1::2]), tail=body[len(arguments) + 1 :]
    )


def gives(template: MessageTemplate, text: str, message: Message) -> bool:
    """Whether the template, filled in for this message, gives exactly kombu's text."""
    wanted = json.loads(text)
    parent, tag = wanted["headers"].get("parent_id"), wanted["properties"].get("delivery_tag")
    return json.loads(template.fill(message, parent=parent, tag=tag)) == wanted


def _arguments(message: Message) -> str:
    # As kombu writes them; a list would take json.dumps twice as long.
    return f'["{message.run_id}", {_encode(str(message.activation))}, {message.attempt}, {message.token}]'


def _mark(slot: str) -> str:
    return f"<hephaestus {slot}>"
