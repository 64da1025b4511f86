"""How a run goes on: its state and the transitions of it. Every rule stands here once; stores run it, or mirror it in Lua."""
