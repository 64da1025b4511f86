-- Cancel a timer that a user has set.
-- Closes the race with the timer itself, which may fire first. A repeated call gets the first answer.
--   reply: 1 if the timer had not fired yet, else 0
-- needs: answers time due_items
demand({ run_id = 'name', step = 'name', reference = 'name', op = 'string' })
if replayed(p.run_id, p.op) then return 1 end
redis.call('HDEL', run, 't:' .. p.reference)
if redis.call('ZREM', due, timer_due(p.step, p.reference)) == 0 then return 0 end
replay(p.run_id, p.op, '1', UNSCHEDULED_LIFETIME)
return 1
