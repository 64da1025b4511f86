-- Find the runs that an instance id may mean: the active ones, and the newest.
-- Each call checks only a few runs for the newest. Closes no race: a run may start or end right after the call.
--   p.id, p.family, p.version, p.exact: see parts/resolve.lua
--   p.after: the last run that earlier calls have checked   p.at: its place in the order of starts
--   reply: names and values: `newest` or ''; `after`, the run after which the next call continues, or '', and `at`, its
--   place; `active`, a JSON list of [run id, version]
-- needs: arguments resolve
demand({ id = 'string', family = 'string?', version = 'string?', exact = 'boolean?', after = 'string?', at = 'string?' })
local newest, after, at = newest_run(p.after, p.at)
local active = active_runs()
return {
  'newest', newest, 'after', after, 'at', at, 'active', #active > 0 and cjson.encode(active) or '[]',
}
