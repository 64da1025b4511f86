"""Steps as Celery tasks on an application's workers; the only package that imports ``celery`` and ``kombu``."""

from hephaestus_celery.runners.celery.runner import CeleryRunner
from hephaestus_celery.runners.celery.settings import check_given, is_eager, real_app, settings_of, state_backend

__all__ = ["CeleryRunner", "check_given", "is_eager", "real_app", "settings_of", "state_backend"]
