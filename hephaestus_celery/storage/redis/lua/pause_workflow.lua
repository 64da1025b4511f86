-- Pause a workflow family in this partition, or let it go on (p.paused).
-- Closes the race of a pause and its end that go through the partitions side by side: each has a number, which the first
-- partition gives, and the highest wins everywhere.
--   p.number: the number that the first partition has given; none where this is the first
--   ARGV[3] who does it, as JSON
--   reply: {'1' where something has changed, else '0', the number of the last change}
-- needs: answers release
demand({ family = 'string', op = 'string', paused = 'boolean', number = 'number?', dispatch_timeout = 'number' }, 3)
local owner = 'workflow:' .. p.family
local before = replayed(owner, p.op)
if before then return { '1', before } end
local last = tonumber(redis.call('HGET', prefix .. 'pauses', p.family) or '0')
if p.number and p.number <= last then return { '0', text(last) } end
local is_paused = is_paused_family(p.family)
if not p.number and is_paused == p.paused then return { '0', text(last) } end
local number = text(p.number or last + 1)
redis.call('HSET', prefix .. 'pauses', p.family, number)
replay(owner, p.op, number)
if p.paused then
  redis.call('SET', paused_family(p.family), text(now()) .. '|' .. number .. '|' .. ARGV[3])
else
  redis.call('DEL', paused_family(p.family))
  release_family(p.family)
  redis.call('PUBLISH', prefix .. 'wake', '1')
end
return { '1', number }
