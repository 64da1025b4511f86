-- Create a run, unless an active one holds its id within the scope. Closes the race of two starts of one id: the check
-- and the creation are one. Answers a repeat (the run id is new for each start) like the first call.
--   ARGV[3] header   ARGV[4] initial context   ARGV[5] config of the first step, or ''
--   KEYS[6], ARGV[6] list and message of the first step, if the broker is this server
--   reply: 'ok', 'posted' when the message was sent too, 'late' when who asked has given up by now, or {run id of the holder}
if redis.call('EXISTS', run) == 1 then return 'ok' end
local at = now()
if p.not_after and at > p.not_after then return 'late' end

local active = prefix .. 'active:' .. p.id
local holders = redis.call('HGETALL', active)
for i = 1, #holders, 2 do
  local other = cjson.decode(holders[i + 1])
  if redis.call('EXISTS', prefix .. 'run:' .. holders[i]) == 0 then
    redis.call('HDEL', active, holders[i]) -- evicted, or deleted by hand: it holds nothing any more
  elseif p.scope ~= 'none' and (p.scope == 'global' or other.scope == 'global'
    or (p.family == other.family and (p.scope == 'workflow' or p.version == other.version))) then
    return { holders[i] }
  end
end

local moment = text(at)
local fields = { 'id', p.id, 'name', p.name, 'family', p.family, 'version', p.version,
  'h', ARGV[3], 'i', ARGV[4], 'st', 'pending', 't0', moment, 'seq', 0, 'adv', 0, 'app', 0, 'act', 1, 'wai', 0,
  's:' .. p.step, cjson.encode({ s = 'active', a = 1, m = p.max_attempts, d = 1, q = moment }) }
if ARGV[5] ~= '' then
  fields[#fields + 1] = 'c:' .. p.step
  fields[#fields + 1] = '0|' .. ARGV[5]
end
if #p.tags > 0 then
  fields[#fields + 1] = 'tags'
  fields[#fields + 1] = cjson.encode(p.tags)
end
write(fields)
redis.call('SET', start, moment .. '000')
redis.call('HSET', active, p.run_id, cjson.encode({ scope = p.scope, family = p.family, version = p.version }))
redis.call('ZADD', prefix .. 'index:status:pending', moment, p.run_id)
redis.call('ZADD', prefix .. 'index:family:' .. p.family, moment, p.run_id)
redis.call('ZADD', prefix .. 'index:id:' .. p.id, moment, p.run_id)
for _, tag in ipairs(p.tags) do
  redis.call('ZADD', prefix .. 'index:tag:' .. tag, moment, p.run_id)
end
set_timer(p.step, at + p.dispatch_timeout)
if KEYS[6] and post(KEYS[6], ARGV[6]) then return 'posted' end
return 'ok'
