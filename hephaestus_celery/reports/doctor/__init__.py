"""What ``celery -A shop hephaestus doctor`` consists of: facts are gathered first, then pure checks judge them."""
