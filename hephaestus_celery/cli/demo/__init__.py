"""``hephaestus-celery demo``: all that is the demo's."""
