-- Due items: what an entry of the due set is, read from its text. Mirrors core/execution/due_items.py.
-- No other file reads them.
-- needs: due_items

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

-- The id of the run that an entry is of, and what it is: `kind` ('step', 'timer', 'prune', 'sweep', 'undo', 'settle', 'copy' or 'deadline'), and what
-- each was written with. The item is nil where its text is none that is known here, both are where it names no run.
local function read_due(member)
  local run_id, key, separator, reference = string.match(member, '^([^|]+)|([^|]*)(|?)(.*)$')
  if not run_id then return nil end
  if key == '' then
    if reference == '' then return run_id, { kind = 'prune' } end
    return run_id, read_pruned(reference)
  elseif member == run_id .. '|' .. SWEEP then
    return run_id, { kind = 'sweep' }
  elseif member == run_id .. '|' .. DEADLINE then
    return run_id, { kind = 'deadline' }
  elseif member == run_id .. '|' .. UNDO then
    return run_id, { kind = 'undo' }
  elseif key == SETTLE then
    local source, id = string.match(reference, '^([^|]*)|(.+)$')
    return run_id, id and { kind = 'settle', source = source, id = id }
  elseif key == COPY then
    local source, id = string.match(reference, '^([^|]+)|([^|]+)$')
    return run_id, id and { kind = 'copy', source = source, id = id }
  elseif string.sub(key, 1, 1) == RESERVED or not is_activation(key) or (separator ~= '' and reference == '') then
    return run_id, nil
  elseif reference ~= '' then
    return run_id, { kind = 'timer', step = key, reference = reference }
  end
  return run_id, { kind = 'step', step = key }
end
