-- An event for a waiting step: recorded once, to be applied by a worker. Closes the race of many senders: the first is
-- accepted, the others find nothing that waits.
--   ARGV[3] data of the event
--   reply: {facts}
local status = redis.call('HGET', run, 'st')
if not status then return { cjson.encode({ v = 'unknown_run' }) } end

local slot = '|' .. p.op
local before = answered(slot, p.op)
if before then return { before } end

local waiting, executing = {}, {}
if not is_final(status) then
  for _, found in ipairs(all_steps()) do
    local key, step = found[1], found[2]
    if not p.only or p.only == key then
      if step.s == 'waiting' and not step.r and step.x[p.name] then
        waiting[#waiting + 1] = key
      elseif step.s == 'active' and step.f then
        executing[#executing + 1] = key
      end
    end
  end
end

local facts = { status = status, steps = waiting, executing = executing }
if #waiting == 1 then
  local key = waiting[1]
  local step = get_step(key)
  local at = now()
  step.r = { e = step.x[p.name], s = 'external', at = text(at) }
  set_step(key, step)
  redis.call('HSET', run, 'd:' .. key, ARGV[3])
  set_timer(key, at + p.dispatch_timeout)
  facts.v, facts.attempt, facts.token = 'accepted', step.a, step.d
elseif #waiting > 1 then
  facts.v = 'ambiguous'
elseif p.keep and not is_final(status) then
  redis.call('HSETNX', run, 'e:' .. (p.only or '') .. '|' .. p.name, ARGV[3])
  facts.v = 'kept'
else
  facts.v = 'not_waiting'
end
-- What was refused left no trace, and is looked at anew when it is asked again.
if facts.v == 'accepted' or facts.v == 'kept' then return { answer(slot, p.op, facts) } end
return { cjson.encode(facts) }
