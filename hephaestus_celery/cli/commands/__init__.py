"""The commands, a file each.

They import no more than click needs before one of them is called.
"""
