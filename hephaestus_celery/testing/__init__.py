"""For tests of applications that use this package, and of this package itself."""

from hephaestus_celery.testing.capture import CapturedEvent, EventCapture

__all__ = ["CapturedEvent", "EventCapture"]
