-- Due items: the text of an entry of the due set, written. Mirrors core/execution/due_items.py.
-- The Python module says what each entry means. No other Lua file writes them. A lane names a step by the same entry.
-- due_items_reading.lua reads them. Only the tick needs that: each function of a part costs every script that has it.
-- needs: arguments

-- The entry of a step; `key` is the text of its activation.
local function step_due(key)
  return p.run_id .. '|' .. key
end

-- A timer that was set for a step beside its own.
local function timer_due(key, reference)
  return p.run_id .. '|' .. key .. '|' .. reference
end

-- The watch over a run, with all that pruning needs when the run itself is gone.
local function prune_due(id, family, tags)
  local about = { id, family }
  for _, tag in ipairs(tags) do about[#about + 1] = tag end
  return p.run_id .. '||' .. cjson.encode(about)
end

-- What the end of a large run has left to be cleared away.
local function sweep_due()
  return p.run_id .. '|' .. SWEEP
end

-- The deadline of a run.
local function deadline_due()
  return p.run_id .. '|' .. DEADLINE
end

-- Data of the run `source` that is still to be copied, and where it is staged which.
local function copy_due(source, id)
  return p.run_id .. '|' .. COPY .. '|' .. source .. '|' .. id
end

-- What a large run that undoes is still to be gone through for.
local function undo_due()
  return p.run_id .. '|' .. UNDO
end

-- Edges of `source` that are still to be settled, and where they are staged.
local function settle_due(source, id)
  return p.run_id .. '|' .. SETTLE .. '|' .. source .. '|' .. id
end
