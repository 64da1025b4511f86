-- Sets and clears due entries: the timer of a step, the lease of an attempt, and the look at whether a run is gone.
-- needs: run time due_items

-- An entry in the due set, for a time on the clock of now().
local function set_due(member, at)
  redis.call('ZADD', due, text(at - now() + steady()), member)
end

-- Set the step's only entry. Its meaning, when it comes due, depends on the step's state.
local function set_timer(key, at)
  set_due(step_due(key), at)
end

-- Set an entry, and wake the scheduler if it would sleep beyond it.
local function set_soon(member, at, since)
  set_due(member, at)
  if at - since < SOON then redis.call('PUBLISH', prefix .. 'wake', '1') end
end

-- When the lease expires: after its duration, or at the step's time limit if that is sooner (step.l, on the clock of
-- steady()).
local function lease_end(at, lease, step)
  local limit = step.l and tonumber(step.l) - steady() + at
  if limit and limit < at + lease then return limit end
  return at + lease
end

local function clear_timer(key)
  redis.call('ZREM', due, step_due(key))
end

-- Set the due entry of a run itself, from its start on. When it comes due, the run is pruned if its retention is over, or
-- if it has expired or was evicted; else it is checked again later. So the entry has all that pruning needs.
local function watch(id, family, tags, delay)
  redis.call('ZADD', due, text(steady() + delay), prune_due(id, family, tags))
end
