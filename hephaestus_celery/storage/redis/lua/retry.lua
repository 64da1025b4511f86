-- Commit a failed attempt that will be retried: the next one is due after its backoff.
-- It is not retried if its run undoes meanwhile what has completed.
-- Closes the race with a rescue: a worker that lost the fence changes nothing.
--   ARGV[3] history entry
--   reply: {facts}, or {facts, start, ending}; see complete.lua
-- needs: late
demand({ run_id = 'name', op = 'string', step = 'name', fence = 'string', delay = 'number', retention = 'number', dispatch_timeout = 'number', took = 'string?', kind = 'string?' }, 3)
local facts = answered(p.step, p.op)
if facts then return again(facts) end

local core = redis.call('HMGET', run, 'st', 'act', 'adv', 'ue')
local status = core[1]
local at = now()
local step = get_step(p.step)
local refusal = refused(status, step, at, 'retry')
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end

if core[4] and not step.cp then return fail_late(step, status, at, 'retry') end

local sequence = redis.call('HINCRBY', run, 'seq', 1)
remember(sequence, 'retrying', queued(step), step.c, text(at), ARGV[3])
local due_at = at + p.delay
if p.stream then
  local facts = applied_facts(step)
  facts.delay = text(p.delay)
  tell('retry', sequence, 1, at, ARGV[3], facts)
end
step.a, step.d, step.f, step.l, step.h, step.b = step.a + 1, step.d + 1, nil, nil, nil, 1
step.q, step.n, step.t = text(due_at), nil, nil
set_step(p.step, step)
set_soon(step_due(p.step), due_at, at)
return { answer(p.step, p.op, {
  v = 'applied', seq = sequence, before = status, after = status, active = tonumber(core[2]), adv = tonumber(core[3]),
}) }
