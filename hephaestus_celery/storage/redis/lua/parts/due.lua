-- Sets and clears due entries: the timer of a step, the lease of an attempt, and the look at whether a run is gone.
-- needs: run time due_items

-- An entry in the due set, for a time on the clock of now().
local function set_due(member, at)
  redis.call('ZADD', due, text(at - now() + steady()), member)
end

-- The step's one entry; what it means when it comes due follows from the step's state.
local function set_timer(key, at)
  set_due(step_due(key), at)
end

-- An entry that may come due before the scheduler would look again by itself: it is woken.
local function set_soon(member, at, since)
  set_due(member, at)
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
  redis.call('ZREM', due, step_due(key))
end

-- The entry of a run itself in the due set, from its beginning on: when it is due, the run is pruned if its retention is
-- over, or if it is gone, expired or evicted by then; else it is looked at again later. So it says all that pruning needs.
local function watch(id, family, tags, delay)
  redis.call('ZADD', due, text(steady() + delay), prune_due(id, family, tags))
end
