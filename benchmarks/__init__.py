"""What hephaestus-celery costs, side by side with Celery's canvas, bare tasks and others: ``python -m benchmarks``.

A row of the budget table is a contest (``contest.py``): contestants that do the same work in turn, on the same worker
and the same server, and ratios of their figures within a round. ``rows/`` holds them, one module each; ``stage.py`` the
server, the worker and the client that they share. Nothing in the product knows of this folder.
"""
