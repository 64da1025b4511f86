-- Read results or other data of steps, in the order in which they are asked for.
-- All are of one kind, p.kind. The reply has at least one, and as many as its size allows. Closes no race: the data of a
-- completed step does not change.
--   ARGV[3...] keys of the steps
--   reply: {text or ''...}, or false for an unknown run
-- needs: arguments
if redis.call('EXISTS', run) == 0 then return false end
local reply, total = {}, 0
for i = 3, #ARGV do
  local field = p.kind .. ':' .. ARGV[i]
  total = total + redis.call('HSTRLEN', run, field)
  if i > 3 and total > MOST_DATA then break end
  reply[#reply + 1] = redis.call('HGET', run, field) or ''
end
return reply
