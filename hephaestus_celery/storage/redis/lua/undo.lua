-- Go through a slice of a large run that undoes what has completed, and drop the steps that nobody has begun.
-- After the last slice the first compensation starts, unless steps are still being executed.
-- Closes the races of two schedulers, and of a crash between two slices. Mirrors `stop` in core/execution/undoing.py.
--   reply: {facts}, or {facts, start, ending, failure, failed step, reason} where the run has ended. `v` stale: nothing is left to go through. `left`: 1 if
--   more slices follow. For the other facts see complete.lua
-- needs: undoing stream
demand({ run_id = 'name', op = 'string', dispatch_timeout = 'number', retention = 'number' })
local facts = answered('|undo', p.op)
if facts then return cjson.decode(facts).ending and with_cause(facts) or { facts } end
local core = redis.call('HMGET', run, 'st', 'us')
local status, cursor = core[1], core[2]
if not status or is_final(status) or not cursor then
  redis.call('ZREM', due, undo_due())
  return { '{"v":"stale"}' }
end
local at = now()
local page = redis.call('HSCAN', run, cursor, 'COUNT', SWEEP_SLICE)
local fields = {}
for i = 1, #page[2], 2 do fields[#fields + 1] = { page[2][i], page[2][i + 1] } end
drop_unclaimed(fields)
local reply = { seq = 0, before = status, after = status }
if page[1] ~= '0' then
  redis.call('HSET', run, 'us', page[1])
  set_due(undo_due(), at)
  reply.left = 1
  return { answer('|undo', p.op, reply, false) }
end
redis.call('HDEL', run, 'us')
redis.call('ZREM', due, undo_due())
local after, t1, states, key = go_on_undoing(status, at)
reply.after = after
if not is_final(after) then return { answer('|undo', p.op, with_next(reply, key), false) } end
reply.ending = redis.call('HINCRBY', run, 'seq', 1)
local cause = redis.call('HMGET', run, 'f', 'cr', 'fs', 'sf', 'adv')
reply.adv = tonumber(cause[5])
if after == 'failed' and not cause[3] then reply.short = cause[4] or nil end
if p.stream then
  tell('end', reply.ending, 1, at, '', ended_as({
    failure = cause[1] or nil, failed = cause[3] or nil, shortfall = cause[4] or nil,
    reason = cause[2] and cjson.decode(cause[2]) or nil,
  }, after))
end
return with_cause(answer('|undo', p.op, reply, true), t1, states)
