-- Take a timer back.   reply: 1 when it had not fired yet, else 0
redis.call('HDEL', run, 't:' .. p.reference)
return redis.call('ZREM', due, p.run_id .. '|' .. p.step .. '|' .. p.reference)
