-- Count the runs that match all filters, or name them, newest first: a listing without what is known of the runs.
-- Stops after p.limit matches, or after p.budget entries of the indexes; see parts/matching.lua.
--   p.cardinal: the indexes alone tell how many match, so nothing else is read   p.names: the run ids are wanted
--   reply: names and values: `count`; `ids`, each as `<start>:<run id>`, with spaces between;
--   `position` and `more` as in list.lua
-- needs: matching
if p.cardinal then
  local count = 0
  for _, index in ipairs(p.indexes) do count = count + redis.call('ZCOUNT', index, p.min, p.max) end
  return { 'count', text(count), 'ids', '', 'position', '', 'more', '0' }
end
local found, position, further = find_matching()
local ids = {}
for i, candidate in ipairs(p.names and found or {}) do ids[i] = text(candidate[1]) .. ':' .. candidate.run end
return {
  'count', text(#found), 'ids', table.concat(ids, ' '), 'position', position, 'more', further and '1' or '0',
}
