-- Leave the scheduler lock, if it is still the caller's.
-- Closes the race with its end: by now another may have it.
--   reply: 1 when it was, else 0
-- needs: time
demand({ owner = 'string' })
local lock = prefix .. 'seat' -- named so since before it was called a lock
if redis.call('HGET', lock, 'owner') ~= p.owner then return 0 end
return redis.call('HDEL', lock, 'owner')
