"""The rules of a run: its state, and the transitions between states.

Every rule stands here once. Stores call it, or mirror it in Lua.
"""
