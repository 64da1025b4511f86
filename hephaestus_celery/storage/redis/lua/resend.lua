-- Send lost messages again: those that are lost by what their lanes and the workers say.
-- Closes the race with a claim: a step that has moved on meanwhile is left alone. A repeated call gets the first answer.
--   p.messages: {run id, step, attempt, token, lane or ''}...   p.op   p.lane: the lane that was checked
--   reply: entries, as of tick.lua
-- needs: rescue messages
demand({ messages = 'table', op = 'string', lane = 'string', worker = 'string', dispatch_timeout = 'number', schema = 'number' })
demand_messages(is_text)
local entries = {}
local at = now()
for _, message in ipairs(p.messages) do
  at_run(message[1])
  local key = message[2]
  local core = redis.call('HMGET', run, 'st', 'schema')
  local step = core[1] and not is_final(core[1]) and not is_newer(core[2]) and get_step(key)
  if step and step.a == message[3] and awaits_claim(step) and not step.p and not is_held() then
    if step.d == message[4] then
      leave_lane(key, step)
      if message[5] ~= '' then step.k = message[5] end
      step.z = send_again(key, step, at, REASON_NOT_CLAIMED)
      step.y = p.op
      set_step(key, step)
      entries[#entries + 1] = rescue('redispatch', key, step, step.z)
    elseif step.y == p.op then
      entries[#entries + 1] = rescue('redispatch', key, step, step.z)
    end
  end
end
local held = #entries > 0 and redis.call('HGET', prefix .. 'looks', p.lane)
if held then
  local seen = cjson.decode(held)
  seen.r = 0
  if seen.c > 0 then -- the check of the lane is not finished: it continues at once, where these messages were
    seen.c = math.max(0, seen.c - #entries)
    redis.call('ZADD', prefix .. 'lanes', text(steady()), p.lane)
  end
  redis.call('HSET', prefix .. 'looks', p.lane, cjson.encode(seen))
end
return #entries > 0 and cjson.encode(entries) or '[]'
