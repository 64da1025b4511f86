-- A run in a reply: `carried` (its fields, as much as one reply may hold) and `packed` (many values as one string).
-- needs: run

-- A flat list as one string, since a reply of many small strings costs its reader far more. The first line has the run's
-- id and the length of each value, so values may hold any bytes.
local function packed(values)
  local lengths = {}
  for i, value in ipairs(values) do
    values[i] = tostring(value)
    lengths[i] = #values[i]
  end
  return (p.run_id or '') .. ' ' .. table.concat(lengths, ',') .. '\n' .. table.concat(values)
end

-- The pause of the workflow of a run that has not ended, as a field `pw` beside the run's own.
local function add_workflow_pause(fields, status, family)
  local pause = not is_final(status) and family and redis.call('GET', paused_family(family))
  if pause then
    fields[#fields + 1] = 'pw'
    fields[#fields + 1] = pause
  end
end

-- One reply carries at most SMALL bytes of data and the fields of FEW steps, so no script takes long. `sz` counts the
-- bytes of data (if absent, they are many). `il` says that the initial context alone exceeds SMALL.

-- The run's fields that one reply may carry, as a flat list. A small run has all of them. Another has its status, the
-- states of `steps` (of all if they are few), and their results if these are small together. `lk` names what is left out.
-- `initial`: include the initial context in any case.
local function carried(size, large, steps, initial)
  local few = redis.call('HLEN', run) <= FEW
  local small = size and tonumber(size) <= SMALL
  if few and small and (initial or not large) then return redis.call('HGETALL', run) end
  local names = { 'h', 'schema', 'st', 't0', 't1', 'act', 'app', 'seq', 'fs', 'f', 'cr', 'mh', 'ra', 'pa', 'sf', 'dl', 'un', 'ul', 'ue' }
  if initial or not large then names[#names + 1] = 'i' end
  if few then
    for _, field in ipairs(redis.call('HKEYS', run)) do
      local kind = string.sub(field, 1, 2)
      if kind == 's:' or (small and (kind == 'r:' or kind == 'm:' or kind == 'c:' or kind == 'a:')) then names[#names + 1] = field end
    end
  end
  local total = 0
  for i, key in ipairs(steps) do
    if not few then names[#names + 1] = 's:' .. key end
    if not (few and small) then
      local length = redis.call('HSTRLEN', run, 'r:' .. key)
      if length > 0 and total + length <= SMALL then
        total = total + length
        names[#names + 1] = 'r:' .. key
      end
      if i == 1 then
        names[#names + 1] = 'c:' .. key
        names[#names + 1] = 'a:' .. key
      end
    end
  end
  local fields = { 'lk', few and (small and '' or 'd') or 'sd' }
  for from = 1, #names, UNPACKED do -- in slices: unpack() has a limited stack
    local to = math.min(from + UNPACKED - 1, #names)
    local values = redis.call('HMGET', run, unpack(names, from, to))
    for i = from, to do
      local value = values[i - from + 1]
      if value then
        fields[#fields + 1] = names[i]
        fields[#fields + 1] = value
      end
    end
  end
  return fields
end
