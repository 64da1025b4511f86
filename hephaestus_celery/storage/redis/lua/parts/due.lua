-- Due entries: the timer of a step, the lease of an attempt, and the watch over a run.
-- needs: run time

-- The step's one entry in the due set, for a time on the clock of now(); what it means when it comes due follows from the
-- step's state.
local function set_timer(key, at)
  redis.call('ZADD', due, text(at - now() + steady()), p.run_id .. '|' .. key)
end

-- A timer that may come due before the scheduler would look again by itself: it is woken.
local function set_soon(key, at, since)
  set_timer(key, at)
  if at - since < SOON then redis.call('PUBLISH', prefix .. 'wake', '1') end
end

-- When a lease is to be renewed at the latest: at its end, or of the step's time limit if that is sooner
-- (step.l, which goes by steady()).
local function lease_end(at, lease, step)
  local limit = step.l and tonumber(step.l) - steady() + at
  if limit and limit < at + lease then return limit end
  return at + lease
end

local function clear_timer(key)
  redis.call('ZREM', due, p.run_id .. '|' .. key)
end

-- The entry of a run itself in the due set, from its beginning on: when it is due, the run is pruned if its retention is
-- over, or if it is gone, expired or evicted by then; else it is looked at again later. So it says all that pruning needs.
local function watch(id, family, tags, delay)
  local entry = { id, family }
  for _, tag in ipairs(tags) do entry[#entry + 1] = tag end
  redis.call('ZADD', due, text(steady() + delay), p.run_id .. '||' .. cjson.encode(entry))
end
