-- Take an attempt from a task that is gone, as the main process of its worker reports.
-- Closes the race with a commit of that task: whoever has the new fence then fails the attempt, and the old one can't commit
-- any more. An event that it was applying is not taken: it comes due at once.
--   p.timed_out: the task was ended at its time limit
--   ARGV[3] history entry
--   reply: names and values: `verdict` ('applied', 'stale') and `entries`: one, as of tick.lua, where it was taken, with all
--   that failing the attempt needs
-- needs: rescue
demand({
  run_id = 'name', step = 'name', attempt = 'number', holder = 'string', fence = 'string', lease = 'number',
  timed_out = 'boolean?',
}, 3)
local status = redis.call('HGET', run, 'st')
local step = status and get_step(p.step)
if step and step.f == p.fence then -- this call again
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
local sequence = seize(p.step, step, p.fence, at, p.lease, ARGV[3])
return { 'verdict', 'applied', 'entries', cjson.encode({ rescue(p.timed_out and TIMED_OUT or LEASE_EXPIRED, p.step, step, sequence) }) }
