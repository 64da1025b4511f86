-- Count the runs of an index by the stored names and versions of their workflows: a slice of it, by rank.
-- Closes no race: what is added or taken between two calls may be missed, or counted twice.
--   p.index   p.first: the rank at which the slice begins   p.many: how many entries it has at most
--   reply: names and values: `entries`, how many there were; `counts`, a JSON object of how many
--   runs have each version and name, with a space between
-- needs: arguments
demand({ index = 'string', first = 'number', many = 'number' })
local entries = redis.call('ZRANGE', p.index, p.first, p.first + p.many - 1)
local counts = {}
for _, member in ipairs(entries) do
  local known = redis.call('HMGET', prefix .. 'run:' .. member, 'version', 'name')
  if known[1] then -- else its retention is over
    local kind = known[1] .. ' ' .. known[2]
    counts[kind] = (counts[kind] or 0) + 1
  end
end
return { 'entries', text(#entries), 'counts', cjson.encode(counts) }
