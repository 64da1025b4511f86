-- Which run an instance id means: its active run, else its newest. Mirrors core/execution/resolve.py.
-- Scripts that need this take p.id, p.family, p.version and p.exact as RunReference has them.
-- needs: run

-- Whether a run of this workflow and version matches the reference.
local function admits(family, version)
  return (not p.family or family == p.family) and not (p.exact and version ~= p.version)
end

-- The active runs that match, as {run id, version}.
local function active_runs()
  local active, found = redis.call('HGETALL', prefix .. 'active:' .. p.id), {}
  for i = 1, #active, 2 do
    local about = cjson.decode(active[i + 1])
    if admits(about.family, about.version) and redis.call('EXISTS', prefix .. 'run:' .. active[i]) == 1 then
      found[#found + 1] = { active[i], about.version }
    end
  end
  return found
end

-- The newest run that matches. Each call checks only a few. Gives its id or '', then the run after which the next call
-- continues and its place in the order of starts, both '' after the last.
-- `after`, `at`: where the call before this one stopped. Runs may have come or gone since, that run too.
local function newest_run(after, at)
  local index = prefix .. 'index:id:' .. p.id
  local page, first, offset = nil, 1, 0
  repeat
    page = redis.call('ZREVRANGEBYSCORE', index, at or '+inf', '-inf', 'WITHSCORES', 'LIMIT', offset, RESOLVE_LOOKS)
    first, offset = 1, offset + RESOLVE_LOOKS
    while after and page[first] and page[first + 1] == at and page[first] >= after do first = first + 2 end
  until first <= #page or #page == 0
  for i = first, #page, 2 do
    local core = redis.call('HMGET', prefix .. 'run:' .. page[i], 'family', 'version')
    if not core[1] then
      redis.call('ZREM', index, page[i]) -- its retention is over
    elseif admits(core[1], core[2]) then
      return page[i], '', ''
    end
  end
  if #page == 2 * RESOLVE_LOOKS then return '', page[#page - 1], page[#page] end
  return '', '', ''
end

-- The run that the id means, or nil. Then the active runs if there are several, or whether further calls must find it.
local function resolve()
  local active = active_runs()
  if p.version and #active > 1 then
    local meant = {}
    for _, found in ipairs(active) do
      if found[2] == p.version then meant[#meant + 1] = found end
    end
    active = meant
  end
  if #active == 1 then return active[1][1] end
  local several = {}
  for i, found in ipairs(active) do several[i] = found[1] end
  if #several > 0 then return nil, several end
  local newest, after = newest_run()
  if newest ~= '' then return newest end
  return nil, nil, after ~= ''
end
