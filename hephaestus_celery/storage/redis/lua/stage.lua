-- Stage a slice of the edges of a wide step before its commit: too many to be settled in one script.
-- Closes the race with a rescue: a worker that lost the fence stages nothing more. The run itself does not change. Staged
-- edges that no commit uses expire after STAGED_LIFETIME.
--   p.id: names this commit   p.position: the number of edges that are staged already
--   p.step, p.fence: the claim; no step where these are the first steps of a run that is about to be created
--   ARGV[3...] p.edges edges; then names and values of rows
--   reply: 1, or 0 where the claim does not hold (any more)
-- needs: staged_edges run
demand({ run_id = 'name', id = 'name', position = 'number', edges = 'number', step = 'name?', fence = 'string?' })
demand({}, 2 + p.edges)
inside('edges', p.edges >= 0 and (#ARGV - 2 - p.edges) % 2 == 0)
if p.step then
  local step = get_step(p.step)
  if not step or step.f ~= p.fence then return 0 end
end
local keys = staged(p.id)
local rows = { unpack(ARGV, 3 + p.edges) }
if p.edges > 0 and redis.call('LLEN', keys[1]) == p.position then redis.call('RPUSH', keys[1], unpack(ARGV, 3, 2 + p.edges)) end
if #rows > 0 then redis.call('HSET', keys[2], unpack(rows)) end
for _, key in ipairs(keys) do redis.call('PEXPIRE', key, STAGED_LIFETIME) end
return 1
