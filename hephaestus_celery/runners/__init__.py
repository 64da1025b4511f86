"""Runners: what executes the steps of runs, in this process or on Celery workers."""
