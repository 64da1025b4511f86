-- Find where the entries of a run's history after a number begin. The numbers of entries never fall.
--   p.after: the number   reply: the place of the first entry that has a larger one
-- needs: arguments
demand({ run_id = 'name', after = 'number' })
local low, high = 0, redis.call('LLEN', history)
while low < high do
  local middle = math.floor((low + high) / 2)
  if tonumber(string.match(redis.call('LRANGE', history, middle, middle)[1], '^%d+')) > p.after then
    high = middle
  else
    low = middle + 1
  end
end
return low
