-- Read what living workers report that they hold, and delete expired reports.
-- Closes the race with a worker that reports meanwhile: one script checks a report and deletes it.
--   reply: {report...}
-- needs: time
local workers, at, found = prefix .. 'workers', steady(), {}
local held = redis.call('HGETALL', workers)
for i = 1, #held, 2 do
  local ends, report = string.match(held[i + 1], '^(%d+)|(.*)$')
  if ends and tonumber(ends) > at then
    found[#found + 1] = report
  else
    redis.call('HDEL', workers, held[i])
  end
end
return found
