-- The indexes of waits: which steps of active runs wait for an event, of each event and of all, by the start of their run.
-- An entry names a run and a step: `<run id>|<step>`. A listing checks what it finds, so an entry may be left over; a step
-- that waits always has its entries. The run's own table of them, `<index>|<step>`, is for when the run itself is gone.
-- needs: run

local function own_waits()
  return prefix .. 'waiting:' .. p.run_id
end

-- The indexes that a step with these events is in.
local function wait_indexes(accepts)
  local indexes = { 'waits' }
  for name in pairs(accepts) do indexes[#indexes + 1] = 'waiting:' .. name end
  return indexes
end

-- The step waits from now on. `started`: when its run was created.
local function enter_waits(key, step, started)
  for _, index in ipairs(wait_indexes(step.x)) do
    redis.call('ZADD', prefix .. 'index:' .. index, started, p.run_id .. '|' .. key)
    redis.call('HSET', own_waits(), index .. '|' .. key, '')
  end
end

-- The step waits no longer: it has got an event, or its run has ended.
local function leave_waits(key, step)
  for _, index in ipairs(wait_indexes(step.x or {})) do
    redis.call('ZREM', prefix .. 'index:' .. index, p.run_id .. '|' .. key)
    redis.call('HDEL', own_waits(), index .. '|' .. key)
  end
end

-- Drop the entries of a run that is gone, a slice of them; gives whether none is left.
local function drop_waits()
  local slice = redis.call('HSCAN', own_waits(), '0', 'COUNT', SWEEP_SLICE)[2]
  for i = 1, #slice, 2 do
    local index, key = string.match(slice[i], '^([^|]+)|(.+)$')
    redis.call('ZREM', prefix .. 'index:' .. index, p.run_id .. '|' .. key)
    redis.call('HDEL', own_waits(), slice[i])
  end
  return redis.call('EXISTS', own_waits()) == 0
end
