-- Commit the final failure of a step: its run has failed.
-- Closes the race with a rescue or another end of the run: a worker that lost the fence changes nothing, and a run ends
-- once.
--   ARGV[3] history entry   ARGV[4] the failure
--   reply: {facts, start, ending}, or {facts} where the run had ended; see complete.lua
-- needs: commit ending
demand({ run_id = 'name', op = 'string', step = 'name', fence = 'string', retention = 'number', took = 'string?', kind = 'string?' }, 4)
local facts = answered(p.step, p.op)
if facts then return cjson.decode(facts).v and { facts } or { facts, read_start(), ending() } end

local core = redis.call('HMGET', run, 'st', 'adv')
local status = core[1]
local at = now()
local step = get_step(p.step)
local refusal = refused(status, step, at, 'fail')
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end

local sequence = redis.call('HINCRBY', run, 'seq', 2) - 1
step.s, step.f = 'failed', nil
set_step(p.step, step)
clear_timer(p.step)
redis.call('HSET', run, 'fs', p.step, 'f', ARGV[4])
remember(sequence, 'failed', queued(step), step.c, text(at), ARGV[3])
local t1, states = finish(status, 'failed', at)
tell('fail', sequence, 2, at, ARGV[3], p.stream and ended_as(applied_facts(step), 'failed'))
facts = { seq = sequence, adv = tonumber(core[2]), after = 'failed' }
if status ~= 'running' then facts.before = status end
return { answer(p.step, p.op, facts, true), read_start(), ending(t1, states) }
