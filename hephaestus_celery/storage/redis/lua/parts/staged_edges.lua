-- Staged edges of a wide step: where they stand.
-- needs: arguments

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
