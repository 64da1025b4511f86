-- Correct the lane of messages that their sender has routed elsewhere than was thought.
-- Closes the race with a claim: a step that has moved on meanwhile is left alone. A repetition changes nothing.
--   p.messages: {run id, step, attempt, token, lane}...
--   reply: 1
-- needs: sending messages
demand({ messages = 'table', dispatch_timeout = 'number', schema = 'number' })
demand_messages(function(lane) return is_text(lane) and lane ~= '' end)
for _, message in ipairs(p.messages) do
  at_run(message[1])
  local key, lane = message[2], message[5]
  local core = redis.call('HMGET', run, 'st', 'schema')
  local step = core[1] and not is_final(core[1]) and not is_newer(core[2]) and get_step(key)
  if step and step.a == message[3] and step.d == message[4] and awaits_claim(step) and step.k ~= lane then
    leave_lane(key, step)
    step.k = lane
    set_step(key, step)
    if not step.p then await_claim(key, step, tonumber(queued(step)), true) end
  end
end
return 1
