-- An event for a waiting step: recorded once, to be applied by a worker. Closes the race of many senders: the first is
-- accepted, the others find nothing that waits.
--   ARGV[3] data of the event
--   reply: {facts}
local status = redis.call('HGET', run, 'st')
if not status then return { cjson.encode({ v = 'unknown_run' }) } end

local waiting, executing = {}, {}
local fields = redis.call('HGETALL', run)
for i = 1, #fields, 2 do
  if fields[i] == 'o:' .. p.op then return { fields[i + 1] } end -- this call again
end
if not is_final(status) then
  for i = 1, #fields, 2 do
    local key = string.sub(fields[i], 3)
    if string.sub(fields[i], 1, 2) == 's:' and (not p.only or p.only == key) then
      local step = cjson.decode(fields[i + 1])
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
if facts.v == 'accepted' then redis.call('HSET', run, 'o:' .. p.op, cjson.encode(facts)) end
return { cjson.encode(facts) }
