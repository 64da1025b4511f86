-- Releases: what a pause has held goes on, a slice at a time. Mirrors `release` of core/execution/pausing.py.
-- `releases` has what is still to go on: the ids of runs, and `|` and a family for all runs of a workflow.
-- needs: sending

-- Let a slice of the present run's held steps come due, in their order. Gives whether none is left.
local function release_steps()
  local page = redis.call('ZRANGE', parked(), 0, RELEASED_STEPS - 1, 'WITHSCORES')
  local keys, names, entries = {}, {}, {}
  for i = 1, #page, 2 do
    keys[#keys + 1], names[#names + 1] = page[i], 's:' .. page[i]
  end
  local states = #names > 0 and redis.call('HMGET', run, unpack(names)) or {}
  for i, stored in ipairs(states) do
    local key, since = page[2 * i - 1], tonumber(page[2 * i])
    local step = stored and cjson.decode(stored)
    if step and step.p == QUEUED and awaits_claim(step) then
      step.p = nil
      set_step(key, step)
      await_claim(key, step, tonumber(queued(step)))
    elseif step and step.p and awaits_claim(step) then
      entries[#entries + 1] = text(since - now() + steady())
      entries[#entries + 1] = step_due(key)
    end
  end
  if #entries > 0 then redis.call('ZADD', due, unpack(entries)) end
  if #keys > 0 then redis.call('ZREM', parked(), unpack(keys)) end
  if #states == RELEASED_STEPS and redis.call('EXISTS', parked()) == 1 then return false end
  redis.call('HDEL', run, 'pk')
  return true
end

local function release_later(member)
  redis.call('ZADD', prefix .. 'releases', text(steady()), member)
  redis.call('HSET', prefix .. 'seat', 'releases', 1) -- so that an idle tick does not ask
end

-- Let the present run go on: a slice at once, the rest by the scheduler.
local function release_run()
  if redis.call('EXISTS', parked()) == 1 and not release_steps() then release_later(p.run_id) end
end

-- The same for the runs of a workflow.
local function release_family(family)
  local runs = redis.call('ZRANGE', parked_runs(family), 0, RELEASED_RUNS - 1)
  for _, run_id in ipairs(runs) do
    at_run(run_id)
    local core = redis.call('HMGET', run, 'st', 'pa')
    if not core[1] or is_final(core[1]) then
      redis.call('UNLINK', parked())
    elseif not core[2] then -- a run that is paused by itself goes on later
      know_pause(false, nil)
      release_run()
    end
  end
  if #runs > 0 then redis.call('ZREM', parked_runs(family), unpack(runs)) end
  if #runs == RELEASED_RUNS then release_later('|' .. family) end
end

-- A slice of what is still to go on: the scheduler's part.
local function go_on(member)
  redis.call('ZREM', prefix .. 'releases', member)
  if string.sub(member, 1, 1) == '|' then
    local family = string.sub(member, 2)
    if not is_paused_family(family) then release_family(family) end
    return
  end
  at_run(member)
  local core = redis.call('HMGET', run, 'st', 'pa', 'family')
  if not core[1] or is_final(core[1]) then return redis.call('UNLINK', parked()) end
  know_pause(core[2], core[3])
  if not is_held() then return release_run() end
  -- paused again meanwhile
  if not own_pause then redis.call('ZADD', parked_runs(core[3]), 'NX', text(now()), member) end
end
