-- A claimed step failed for good, and its run with it.
--   ARGV[3] history entry   ARGV[4] the failure
--   reply: {facts, start}
local facts = answered(p.step, p.op)
if facts then return { facts, read_start() } end

local core = redis.call('HMGET', run, 'st', 'adv')
local status = core[1]
local at = now()
local step = get_step(p.step)
local refusal = refused(status, step, at)
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal), '' } end
  return { answer(p.step, p.op, refusal), '' }
end

local sequence = redis.call('HINCRBY', run, 'seq', 2) - 1
step.s, step.f = 'failed', nil
set_step(p.step, step)
clear_timer(p.step)
redis.call('HSET', run, 'fs', p.step, 'f', ARGV[4])
remember(sequence, 'failed', queued(step), step.c, text(at), ARGV[3])
local completed = finish(status, 'failed', at)
return { answer(p.step, p.op, {
  v = 'applied', seq = sequence, before = status, after = 'failed', adv = tonumber(core[2]), active = 0, t1 = text(at),
  completed = completed,
}), read_start() }
