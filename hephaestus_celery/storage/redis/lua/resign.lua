-- Leave the scheduler lock, if it is still the caller's.
-- Closes the race with its expiry: another scheduler may hold the lock by now.
--   reply: 1 if the caller held it, else 0
-- needs: time
demand({ owner = 'string' })
local lock = prefix .. 'seat' -- the stored name is older than the word lock
if redis.call('HGET', lock, 'owner') ~= p.owner then return 0 end
return redis.call('HDEL', lock, 'owner')
