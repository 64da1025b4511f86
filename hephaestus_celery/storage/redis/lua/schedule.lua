-- Set a durable timer for a step, beside its own: it gives the step `timeout`, if the step still waits by then.
-- Closes the race of a repeated call with the timer itself, which may have fired or been cancelled: it is set once.
--   reply: 1, or 0 when the run has ended or is unknown
-- needs: due answers
demand({ run_id = 'name', step = 'name', reference = 'name', delay = 'number' })
if replayed(p.run_id, 'timer ' .. p.reference) then return 1 end
local status = redis.call('HGET', run, 'st')
if not status or is_final(status) then return 0 end
local at = now()
redis.call('HSET', run, 't:' .. p.reference, p.step) -- the end of the run deletes the timer by this field
set_soon(timer_due(p.step, p.reference), at + p.delay, at)
replay(p.run_id, 'timer ' .. p.reference, '1')
return 1
