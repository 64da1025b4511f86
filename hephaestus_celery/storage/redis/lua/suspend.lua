-- A claimed step waits from now on. An event that was kept for it is delivered in the same moment, so that none is lost
-- between the step's answer and this commit.
--   ARGV[3] history entry
--   reply: {facts}
local facts = answered(p.step, p.op)
if facts then return { facts } end

local core = redis.call('HMGET', run, 'st', 'adv')
local status = core[1]
local at = now()
local step = get_step(p.step)
local refusal = refused(status, step, at)
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end

local sequence = redis.call('HINCRBY', run, 'seq', 1)
remember(sequence, 'waiting', step.q, step.c, text(at), ARGV[3])
step.s, step.f, step.l, step.w, step.x, step.d = 'waiting', nil, nil, text(at), p.accepts, step.d + 1
step.n = nil

for _, name in ipairs(p.names) do -- in the order of declaration
  for _, slot in ipairs({ 'e:' .. p.step .. '|' .. name, 'e:|' .. name }) do
    local kept = not step.r and redis.call('HGET', run, slot)
    if kept then
      step.r = { e = p.accepts[name], s = 'external', at = text(at) }
      redis.call('HSET', run, 'd:' .. p.step, kept)
      redis.call('HDEL', run, slot)
    end
  end
end
-- So is the timeout of a timer that came due before the step waited, whatever the step accepts.
if not step.r and redis.call('HDEL', run, 'e:' .. p.step .. '||timeout') == 1 then
  step.r = { e = 'timeout', s = 'timeout', at = text(at) }
end
set_step(p.step, step)
if step.r then
  set_timer(p.step, at + p.dispatch_timeout)
elseif p.timeout then
  set_soon(p.step, at + p.timeout, at)
else
  clear_timer(p.step)
end
redis.call('HINCRBY', run, 'wai', 1)
local active = redis.call('HINCRBY', run, 'act', -1)
local after = derived()
set_status(status, after)
return { answer(p.step, p.op, {
  v = 'applied', seq = sequence, before = status, after = after, adv = tonumber(core[2]), active = active,
  resumed = step.r ~= nil, attempt = step.a, token = step.d,
}) }
