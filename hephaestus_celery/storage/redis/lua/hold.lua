-- Hold a run from which another is copied into another partition, or let it go: see parts/copies.lua.
-- Closes the race with the end of its retention: from now on it is kept.
--   p.left: see rerun.lua
--   p.copy: the other run   p.release: it is whole (or was refused), so the mark goes
--   reply: {'held'}, or a refusal: {'gone'}, {'newer', schema}, {'partial'}, {'compensating'}
-- needs: copies
demand({ run_id = 'name', copy = 'name', release = 'boolean?', reads = 'number', left = 'number?' })
if p.release then
  let_go(p.run_id, p.copy)
  return { 'held' }
end
local core = redis.call('HMGET', run, 'st', 'schema', 'cp', 'ul')
if not core[1] then return { 'gone' } end
if core[2] and tonumber(core[2]) > p.reads then return { 'newer', core[2] } end
if core[3] then return { 'partial' } end
if (core[4] and not is_final(core[1])) or (core[4] and tonumber(core[4]) or nil) ~= p.left then return { 'compensating' } end
hold(p.run_id, p.copy)
return { 'held' }
