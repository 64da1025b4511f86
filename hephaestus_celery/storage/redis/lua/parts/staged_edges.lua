-- Staged edges of a wide step: where they stand.
-- Also the names of due entries that go on with what is too large for one script.
-- needs: arguments

local SWEEP = '\1sweep' -- no key of a step: names an entry of the due set for what a large run's end has left to be cleared away
local SETTLE = '\1settle' -- the same for edges that are still to be settled, see joins.lua

-- The edges of a step of very many, to be settled in slices (list of '1' for a taken one or '0' for a dead one, and the key of
-- its target), and of each target how many predecessors it has, how often it may be attempted, its lane or '', and the keys of
-- its successors (hash; and the configs of '|' and a key).
local function staged(id)
  return { prefix .. 'edges:' .. p.run_id .. ':' .. id, prefix .. 'rows:' .. p.run_id .. ':' .. id }
end

-- Nothing is done where what was staged is gone.
local function check_staged(id)
  if redis.call('EXISTS', unpack(staged(id))) < 2 then error('nothing was done: what follows the step is gone (evicted?)', 0) end
end
