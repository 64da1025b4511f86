-- Sends messages for steps: notes where they wait for a claim. In a paused run the steps are held instead.
-- needs: pause

-- The message of a step waits in its lane, since step.t if that is set; a step without a lane gets a timer. `timed`: the step
-- may have an entry in the due set, which is void now.
local function await_claim(key, step, at, timed)
  if not step.k then return set_timer(key, at + p.dispatch_timeout) end
  if timed then clear_timer(key) end
  local since = step.t and tonumber(step.t) or at
  redis.call('ZADD', lane_key(step.k), text(since), step_due(key))
  redis.call('ZADD', prefix .. 'lanes', 'NX', text(since + p.dispatch_timeout), step.k)
end

-- Note that a message for a step is under way, or hold the step (step.p says so then, and its state is saved).
local function sent(key, step, at, timed)
  if is_held() then return park(key, step, UNSENT) end
  await_claim(key, step, at, timed)
end

-- The same for many steps that have just started; their states are saved by the caller.
local function all_sent(keys, lane, at)
  if is_held() then
    local entries = {}
    for _, key in ipairs(keys) do
      entries[#entries + 1] = text(at)
      entries[#entries + 1] = key
    end
    return note_parked(entries)
  end
  local since = at - now() + steady()
  local set, score = due, text(since + p.dispatch_timeout)
  if lane then set, score = lane_key(lane), text(since) end
  for from = 1, #keys, UNPACKED / 2 do -- in slices: unpack() has a limited stack
    local entries = {}
    for i = from, math.min(from + UNPACKED / 2 - 1, #keys) do
      entries[#entries + 1] = score
      entries[#entries + 1] = step_due(keys[i])
    end
    redis.call('ZADD', set, unpack(entries))
  end
  if lane then redis.call('ZADD', prefix .. 'lanes', 'NX', text(since + p.dispatch_timeout), lane) end
end
