-- Takes a run out of the store: what its end has left in slices, its entries in the indexes, and its keys.
-- Shared by delete.lua and tick.lua.
-- needs: ending

-- Clear away a slice of what an ended large run has left beside its state; gives whether that was the last.
local function sweep_slice()
  local cursor = redis.call('HGET', run, 'sw') or '0'
  local page = redis.call('HSCAN', run, cursor, 'COUNT', SWEEP_SLICE)
  for i = 1, #page[2], 2 do clear_away(page[2][i], page[2][i + 1]) end
  if page[1] == '0' then
    redis.call('HDEL', run, 'sw')
    redis.call('ZREM', due, sweep_due())
    return true
  end
  redis.call('HSET', run, 'sw', page[1])
  return false
end

-- Drop a run from the indexes; `statuses` are those in which it may stand.
local function leave_indexes(id, family, tags, statuses)
  for _, status in ipairs(statuses) do redis.call('ZREM', prefix .. 'index:status:' .. status, p.run_id) end
  redis.call('ZREM', prefix .. 'index:family:' .. family, p.run_id)
  redis.call('ZREM', prefix .. 'index:id:' .. id, p.run_id)
  redis.call('HDEL', prefix .. 'active:' .. id, p.run_id)
  for _, tag in ipairs(tags) do redis.call('ZREM', prefix .. 'index:tag:' .. tag, p.run_id) end
end

-- Delete the keys of a run. A thread of the server frees them: for a long run, a script would take too long.
local function unlink_run()
  redis.call(
    'UNLINK', run, start, history, answers, early_events(), taken_events(), owners_of_keys(), own_waits(), parked(),
    later_rounds()
  )
end
