"""Storages: the port that keeps runs, and its adapters."""
