"""The catalogue of telemetry events: their names, what they carry, and the reference page.

``python -m hephaestus_celery.telemetry.catalogue`` prints the page. The entries are data for readers: who emits or handles
events needs the names alone.
"""
