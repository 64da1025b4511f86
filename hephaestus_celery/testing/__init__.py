"""For tests of applications that use this package, and of new storages and runners."""

from hephaestus_celery.testing.capture import CapturedEvent, EventCapture

__all__ = ["CapturedEvent", "EventCapture"]
