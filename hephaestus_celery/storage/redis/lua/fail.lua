-- Commit the final failure of a step: its run has failed, or undoes from now on what has completed.
-- Then the reply has `undoes`. While a run undoes, the failure of a compensation is noted, and the next one starts.
-- Closes the race with a rescue or another end of the run: a worker that lost the fence changes nothing, and a run ends
-- once.
--   ARGV[3] history entry   ARGV[4] the failure
--   reply: {facts, start, ending}, or {facts} where the run had ended; see complete.lua
-- needs: late
demand({ run_id = 'name', op = 'string', step = 'name', fence = 'string', retention = 'number', dispatch_timeout = 'number', took = 'string?', kind = 'string?' }, 4)
local facts = answered(p.step, p.op)
if facts then return again(facts) end

local core = redis.call('HMGET', run, 'st', 'adv', 'un', 'ue')
local status = core[1]
local at = now()
local step = get_step(p.step)
local refusal = refused(status, step, at, 'fail')
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end

if core[4] and not step.cp then return fail_late(step, status, at, 'fail') end
if core[4] then
  local failed = get_step(p.step)
  failed.s, failed.f = 'failed', nil
  return end_in_undoing(step, failed, status, at, { what = 'fail', outcome = 'failed', reserved = 1 })
end

local sequence = redis.call('HINCRBY', run, 'seq', 2) - 1
local waits = step.s == 'waiting'
step.s, step.f = 'failed', nil
set_step(p.step, step)
clear_timer(p.step)
redis.call('HSET', run, 'fs', p.step, 'f', ARGV[4])
remember(sequence, 'failed', queued(step), step.c, text(at), ARGV[3])
if core[3] then redis.call('HINCRBY', run, waits and 'wai' or 'act', -1) end
local after, t1, states, key = stop(status, 'failed', core[3], at)
local ended = is_final(after)
if p.stream then
  local told = applied_facts(step)
  if ended then ended_as(told, 'failed') else told.begins = '1' end
  tell('fail', sequence, 2, at, ARGV[3], told)
end
facts = { seq = sequence, adv = tonumber(core[2]), after = after }
if status ~= 'running' then facts.before = status end
if ended then return { answer(p.step, p.op, facts, true), read_start(), ending(t1, states) } end
facts.undoes, facts.active = true, tonumber(redis.call('HGET', run, 'act'))
return { answer(p.step, p.op, with_next(facts, key), false) }
