-- Due items: the text of an entry of the due set, written and read. Mirrors core/execution/due_items.py.
-- No other file does. Mirrors core/execution/due_items.py, which says what each means; the entries of lanes are those of steps.
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

-- Edges of `source` that are still to be settled, and where they are staged.
local function settle_due(source, id)
  return p.run_id .. '|' .. SETTLE .. '|' .. source .. '|' .. id
end

-- Whether this is the text of an activation: a key, and behind it an index, a generation, or both.
local function is_activation(key)
  local first, last = string.find(key, ' ~', 1, true)
  local generation = first and string.sub(key, last + 1)
  local rest = first and string.sub(key, 1, first - 1) or key
  first, last = string.find(rest, ' #', 1, true)
  local index = first and string.sub(rest, last + 1)
  return (not generation or (string.find(generation, '^[1-9]%d*$') and generation ~= '1'))
    and (not index or index == '0' or string.find(index, '^[1-9]%d*$'))
end

-- The run that a watch is over, from its JSON; nil where that is none.
local function read_pruned(about)
  local well, values = pcall(cjson.decode, about)
  if not well or not is_list(values, is_text) or #values < 2 then return nil end
  return { kind = 'prune', id = values[1], family = values[2], tags = { unpack(values, 3) } }
end

-- The id of the run that an entry is of, and what it is: `kind` ('step', 'timer', 'prune', 'sweep' or 'settle'), and what each
-- was written with. The item is nil where its text is none that is known here, both are where it names no run.
local function read_due(member)
  local run_id, key, separator, reference = string.match(member, '^([^|]+)|([^|]*)(|?)(.*)$')
  if not run_id then return nil end
  if key == '' then
    if reference == '' then return run_id, { kind = 'prune' } end
    return run_id, read_pruned(reference)
  elseif member == run_id .. '|' .. SWEEP then
    return run_id, { kind = 'sweep' }
  elseif key == SETTLE then
    local source, id = string.match(reference, '^([^|]*)|(.+)$')
    return run_id, id and { kind = 'settle', source = source, id = id }
  elseif string.sub(key, 1, 1) == RESERVED or not is_activation(key) or (separator ~= '' and reference == '') then
    return run_id, nil
  elseif reference ~= '' then
    return run_id, { kind = 'timer', step = key, reference = reference }
  end
  return run_id, { kind = 'step', step = key }
end
