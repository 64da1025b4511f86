-- Lanes: which messages wait, by queue and priority, in the order of sending. Mirrors core/execution/lanes.py.
-- `lanes` holds when each lane is looked at next, `marks` up to where it was claimed, `looks` what the last look has seen. A
-- step whose lane is not known has a timer instead.
-- needs: due

local function lane_key(lane)
  return prefix .. 'lane:' .. lane
end

-- When a message was sent, on the steady clock of lanes; nil where both clocks agree.
local function sent_at(at)
  local moment = at - now() + steady()
  return moment ~= at and text(moment) or nil
end

local function leave_lane(key, step)
  if step.k then redis.call('ZREM', lane_key(step.k), step_due(key)) end
end

-- Whether a message of the step is under way and not claimed yet.
local function awaits_claim(step)
  return not step.f and not step.b and (step.s == 'active' or (step.s == 'waiting' and step.r))
end

-- When the last message of a step counts as late. Mirrors redispatch_interval in core/execution/lanes.py.
local function late_at(step, at)
  local factor = 1
  if step.n then factor = math.min(2 ^ step.n, LONGEST_FACTOR) * (JITTER_FROM + (at % JITTER_STEPS) / JITTER_STEPS * JITTER_SPAN) end
  return at + math.floor(p.dispatch_timeout * factor)
end
