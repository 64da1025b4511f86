-- Leave the scheduler's seat, if it is still the caller's. Closes the race with its end: by now another may have it.
--   reply: 1 when it was, else 0
demand({ owner = 'string' })
local seat = prefix .. 'seat'
if redis.call('HGET', seat, 'owner') ~= p.owner then return 0 end
return redis.call('HDEL', seat, 'owner')
