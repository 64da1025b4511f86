"""The commands of ``celery -A shop hephaestus``, a file each."""
