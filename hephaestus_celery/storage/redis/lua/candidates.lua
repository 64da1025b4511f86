-- Find the runs that an instance id may mean: the active ones, and the newest.
-- The newest is looked for among few at a time. Closes no race: a start or an end may come right after it.
--   p.id, p.family, p.version, p.exact: see parts/resolve.lua
--   p.after: the run up to which the calls before this one have looked, and p.at its place in the order of starts
--   reply: names and values: `newest` or '', `after` (the run to go on after, or '') and `at` (its place); `active`, as JSON a
--   list of [run id, version]
-- needs: arguments resolve
demand({ id = 'string', family = 'string?', version = 'string?', exact = 'boolean?', after = 'string?', at = 'string?' })
local newest, after, at = newest_run(p.after, p.at)
local active = active_runs()
return {
  'newest', newest, 'after', after, 'at', at, 'active', #active > 0 and cjson.encode(active) or '[]',
}
