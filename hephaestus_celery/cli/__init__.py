"""The command lines ``hephaestus-celery`` and ``celery -A shop hephaestus``."""
