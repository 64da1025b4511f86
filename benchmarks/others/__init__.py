"""Other libraries on the same work, for comparison: each a process of its own, which has workers of its own.

None of them is needed: one that is not installed is left out. ``benchmarks/requirements.txt`` installs them all.
"""
