-- Take an attempt from a task that is gone, as the main process of its worker reports.
-- Closes the race with a commit of that task: the step gets a new fence, whose holder fails the attempt. The old fence
-- can't commit any more. An event that the task was applying is not taken: it comes due at once.
--   p.timed_out: the pool ended the task at its time limit
--   p.reason, p.worker: how and where that was noticed, for the history
--   reply: names and values: `verdict` ('applied', 'stale') and `entries`. Where the attempt was taken, these have one
--   entry, as in tick.lua, with everything that is needed to fail the attempt
-- needs: rescue
demand({
  run_id = 'name', step = 'name', attempt = 'number', holder = 'string', fence = 'string', lease = 'number',
  reason = 'string', worker = 'string?', timed_out = 'boolean?',
})
local status = redis.call('HGET', run, 'st')
local step = status and get_step(p.step)
if step and step.f == p.fence then -- a repetition of this call
  return { 'verdict', 'applied', 'entries', cjson.encode({ rescue(p.timed_out and TIMED_OUT or LEASE_EXPIRED, p.step, step, step.z) }) }
end
if not step or is_final(status) or not step.f or step.a ~= p.attempt or step.h ~= p.holder then
  return { 'verdict', 'stale', 'entries', '[]' }
end
local at = now()
if step.r then
  if p.timed_out then
    step.l = text(steady())
    set_step(p.step, step)
  end
  set_soon(step_due(p.step), at, at)
  return { 'verdict', 'stale', 'entries', '[]' }
end
local sequence = seize(p.step, step, p.fence, at, p.lease, p.reason)
return { 'verdict', 'applied', 'entries', cjson.encode({ rescue(p.timed_out and TIMED_OUT or LEASE_EXPIRED, p.step, step, sequence) }) }
