-- Staged edges of a wide step: where they stand.
-- needs: arguments

-- The keys of the staged edges. The first is a list: '1' for a taken edge or '0' for a dead one, then the key of its
-- target. The second is a hash with the row of each target: its number of predecessors, its most attempts, its lane or
-- '', and the keys of its successors. The hash has configs too, under '|' and a key.
local function staged(id)
  return { prefix .. 'edges:' .. p.run_id .. ':' .. id, prefix .. 'rows:' .. p.run_id .. ':' .. id }
end

-- Refuse the call if the staged edges are gone.
local function check_staged(id)
  if redis.call('EXISTS', unpack(staged(id))) < 2 then error('nothing was done: what follows the step is gone (evicted?)', 0) end
end
