-- Read entries of a run's history after a number: the first of the list, and what a reader needs for the rest.
-- Closes the race of a reader with rounds, whose later entries are in a hash: it reads nothing that is newer than this call. The
-- numbers of entries never fall.
--   p.after: the number   p.limit: how many entries
--   reply: the place of the first entry in the list, the last event number or '' if the hash does not exist, then the entries
-- needs: run
demand({ run_id = 'name', after = 'number', limit = 'number' })
local low, high = 0, p.after > 0 and redis.call('LLEN', history) or 0
while low < high do
  local middle = math.floor((low + high) / 2)
  if tonumber(string.match(redis.call('LRANGE', history, middle, middle)[1], '^%d+')) > p.after then
    high = middle
  else
    low = middle + 1
  end
end
local core = redis.call('HMGET', run, 'seq', 'rg')
return { text(low), core[2] and core[1] or '', unpack(redis.call('LRANGE', history, low, low + p.limit - 1)) }
