"""The pure core: definitions, the engine and its values.

Stdlib only; no clock, chance, logging or I/O.
"""
