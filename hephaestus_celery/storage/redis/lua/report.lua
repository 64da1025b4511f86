-- Store what a worker reports that it holds.
-- The report expires when its worker stops reporting. Closes no race: each worker writes its own.
--   ARGV[3] name of the worker   ARGV[4] what it holds, or '' when it stops   p.lifetime
--   reply: 1
-- needs: time
demand({ lifetime = 'number' }, 4)
local workers = prefix .. 'workers'
if ARGV[4] == '' then
  redis.call('HDEL', workers, ARGV[3])
else
  redis.call('HSET', workers, ARGV[3], text(steady() + p.lifetime) .. '|' .. ARGV[4])
  redis.call('PEXPIRE', workers, REPORTS_LIFETIME)
end
return 1
