-- A start: who holds the id of a run that is to be created, and the entries by which the new run is found.
-- Shared by create.lua and rerun.lua, which take p.id, p.family, p.version, p.scope, p.tags and
-- p.deadline, in microseconds from the start.
-- needs: due

-- The active run that forbids the start, as {run id, family, scope}; nil if there is none. Mirrors find_holder in
-- core/execution/uniqueness.py.
local function find_holder()
  local active = prefix .. 'active:' .. p.id
  local holders = redis.call('HGETALL', active)
  for i = 1, #holders, 2 do
    local other = cjson.decode(holders[i + 1])
    if redis.call('EXISTS', prefix .. 'run:' .. holders[i]) == 0 then
      redis.call('HDEL', active, holders[i]) -- the run was evicted, or deleted by hand, so its id is free
    elseif p.scope ~= 'none' and (p.scope == 'global' or other.scope == 'global'
      or (p.family == other.family and (p.scope == 'workflow' or p.version == other.version))) then
      return { holders[i], other.family, other.scope }
    end
  end
  return nil
end

-- The fields that every new run has, names and values; `active` is the number of its active steps.
local function first_fields(header, moment, sequence, active)
  local found = { 'id', p.id, 'name', p.name, 'family', p.family, 'version', p.version,
    'h', header, 'schema', p.schema,
    'st', 'pending', 't0', moment, 'seq', sequence, 'adv', 0, 'app', 0, 'act', active, 'wai', 0 }
  if p.undo then
    found[#found + 1] = 'un'
    found[#found + 1] = 0
  end
  if p.headers then
    found[#found + 1] = 'mh'
    found[#found + 1] = p.headers
  end
  if p.deadline then
    found[#found + 1] = 'dl'
    found[#found + 1] = text(p.deadline)
  end
  if #p.tags > 0 then
    found[#found + 1] = 'tags'
    found[#found + 1] = cjson.encode(p.tags)
  end
  return found
end

-- Make a new run known: its start, its place among the active runs of its id, its indexes, and the watch over it.
local function make_known(moment)
  redis.call('SET', start, moment .. '000')
  redis.call('HSET', prefix .. 'active:' .. p.id, p.run_id, cjson.encode({ scope = p.scope, family = p.family, version = p.version }))
  redis.call('ZADD', prefix .. 'index:status:pending', moment, p.run_id)
  redis.call('ZADD', prefix .. 'index:family:' .. p.family, moment, p.run_id)
  redis.call('ZADD', prefix .. 'index:id:' .. p.id, moment, p.run_id)
  redis.call('PERSIST', prefix .. 'index:id:' .. p.id) -- until the last active run of the id has ended
  watch(p.id, p.family, p.tags, WATCH)
  if p.deadline then set_soon(deadline_due(), tonumber(moment) + p.deadline, tonumber(moment)) end
  for _, tag in ipairs(p.tags) do
    redis.call('ZADD', prefix .. 'index:tag:' .. tag, moment, p.run_id)
  end
end
