"""A store made of transactions: lock, load a run, decide with :mod:`core.execution`, save.

Memory is one; the tests have one over SQL.
"""
