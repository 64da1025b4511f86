"""What ``hephaestus-celery demo`` consists of; nothing else uses it."""
