-- The runs that an instance id may mean: the active ones, and the newest, which is looked for among few at a time. Closes no
-- race: a start or an end may come right after it.
--   p.id, p.family, p.version, p.exact: see parts/resolve.lua
--   p.after: the run up to which the calls before this one have looked, and p.at its place in the order of starts
--   reply: {newest or '', run to go on after or '', its place, then run id and version of each active run}
-- needs: arguments resolve
demand({ id = 'string', family = 'string?', version = 'string?', exact = 'boolean?', after = 'string?', at = 'string?' })
local reply = { newest_run(p.after, p.at) }
for _, found in ipairs(active_runs()) do
  reply[#reply + 1] = found[1]
  reply[#reply + 1] = found[2]
end
return reply
