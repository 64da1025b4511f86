"""The legend of a run's hash has each field that scripts name."""

from __future__ import annotations

import re

import pytest

from hephaestus_celery.storage.redis import key_catalogue
from hephaestus_celery.storage.redis.run_fields import FIELDS, STEP_FIELDS, kind_of
from hephaestus_celery.storage.redis.scripts import NAMES, compose


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("st", "st"),
        ("s:a", "s:<step>"),
        ("r:a:b", "r:<step>"),
        ("t:ref", "t:<reference>"),
        ("e:a||timeout", "e:<step>||timeout"),
        ("e:|go", "e:<step>|<event>"),
        ("g:", "g:<step>"),
        ("unheard", None),
        ("v:a", None),
    ],
)
def test_a_field_has_its_place_in_the_legend(field, kind):
    assert kind_of(field) == kind


def test_every_field_of_a_step_that_a_script_names_is_in_the_legend():
    code = "".join(re.sub(r"--.*", "", compose(name)) for name in NAMES)
    assert set(re.findall(r"\bstep\.([a-z])\b", code)) <= set(STEP_FIELDS)


def test_the_legend_is_on_the_page_of_keys():
    page = key_catalogue.render()
    assert all(f"| `{name.replace('|', chr(92) + '|')}` | {meaning} |" in page for name, meaning in FIELDS.items())
    assert all(f"| `{name}` | {meaning} |" in page for name, meaning in STEP_FIELDS.items())
