"""Prints the reference page of the events."""

import sys

from hephaestus_celery.telemetry.catalogue.page import render_page

sys.stdout.write(render_page())
