"""The options of each command, a file each; ``main.py`` and ``plugin.py`` register them.

They import no more than click needs before one of them is called.
"""
