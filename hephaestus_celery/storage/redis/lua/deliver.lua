-- Resume: record an event for the step that waits for it, once; a worker applies it.
-- Closes the race of many senders: the first is accepted, the others find no waiting step. A run takes an event with a
-- key (p.key) only once, whatever its data. Closes the race with a new start of the id, too: the script itself resolves
-- the run.
-- Mirrors core/execution/delivery.py.
--   KEYS: those of no run   p.run_id, or p.id: which run; with p.family, p.version and p.exact: see parts/resolve.lua
--   ARGV[3] data of the event
--   reply: {facts}. `v` is the outcome. `several`: several active runs match, listed in `active`. `unresolved`: further
--   calls must find the newest run. `many`: the caller must name the steps to check (p.among). A run that was found has
--   `run`, `name`, `version`, `status` and `headers`; `steps`, which wait for the event; `executing` ones; `attempt` and
--   `token` of the step that gets it, unless the run is paused. A run with a schema that is too new has `newer_schema` and
--   `schema`.
-- needs: sending answers run_reply resolve waits
demand({
  run_id = 'name?', id = 'string?', family = 'string?', version = 'string?', exact = 'boolean?', op = 'string',
  name = 'string', only = 'name?', keep = 'boolean?', key = 'string?', by = 'string?', dispatch_timeout = 'number', among = 'table?',
  schema = 'number', owner = 'string?',
}, 3)
inside('among', p.among == nil or is_list(p.among, is_name))
inside('id', (p.run_id == nil) ~= (p.id == nil))

-- The answer is kept for the id as it was given: a repeat may come when the id means another run.
local owner = p.owner or p.run_id or p.id
local before = replayed(owner, p.op)
if before then return { before } end
local found, several, unresolved = p.run_id, nil, nil
if p.id then found, several, unresolved = resolve() end
if several then return { cjson.encode({ v = 'several', active = several }) } end
if unresolved then return { '{"v":"unresolved"}' } end
if not found then return { '{"v":"unknown_run"}' } end

at_run(found)
local core = redis.call('HMGET', run, 'st', 'en', 'name', 'version', 'family', 'mh', 'schema')
local status = core[1]
if not status or not admits(core[5], core[4]) then return { '{"v":"unknown_run"}' } end
if is_newer(core[7]) then return { cjson.encode({ v = 'newer_schema', run = found, schema = tonumber(core[7]) }) } end
local facts = { run = found, name = core[3], version = core[4], headers = core[6] or nil, status = status }
if p.key and redis.call('SISMEMBER', taken_events(), p.key) == 1 then
  facts.v = 'repeated'
  return { cjson.encode(facts) }
end

-- The steps that may wait for the event, as {key, state}. In a run of many steps, the caller has found them (p.among);
-- gives nil where it has not yet.
local function candidates()
  local keys = p.only and { p.only } or p.among
  local found = {}
  if not keys then
    if redis.call('HLEN', run) > FEW then return nil end
    for _, field in ipairs(fields_of({ ['s:'] = true })) do
      found[#found + 1] = { string.sub(field[1], 3), cjson.decode(field[2]) }
    end
    return found
  end
  for _, key in ipairs(keys) do
    local step = get_step(key)
    if step then found[#found + 1] = { key, step } end
  end
  return found
end

local waiting, executing = {}, {}
if not is_final(status) then
  local asked = candidates()
  if not asked then
    facts.v = 'many'
    return { cjson.encode(facts) }
  end
  for _, found in ipairs(asked) do
    local key, step = found[1], found[2]
    if step.s == 'waiting' and not step.r and step.x[p.name] then
      waiting[#waiting + 1] = key
    elseif step.s == 'active' and step.f then
      executing[#executing + 1] = key
    end
  end
end

local function verdict()
  if #waiting > 1 then return 'ambiguous' end
  if #waiting == 0 and (is_final(status) or not p.keep) then return 'not_waiting' end
  if #waiting == 0 and core[2] and redis.call('HLEN', early_events()) >= MOST_KEPT then return 'too_many_kept' end
  if p.key and redis.call('SCARD', taken_events()) >= MOST_KEYS then return 'too_many_keys' end
  return #waiting == 1 and 'accepted' or 'kept'
end

facts.v, facts.steps, facts.executing = verdict(), waiting, executing
-- A refused event leaves no trace, so a repeated call is judged anew.
if facts.v ~= 'accepted' and facts.v ~= 'kept' then return { cjson.encode(facts) } end

local owners, taker = owners_of_keys(), nil
if facts.v == 'accepted' then
  local key = waiting[1]
  taker = 's' .. key
  local step = get_step(key)
  local at = now()
  step.r, step.t = { e = step.x[p.name], s = 'external', at = text(at), b = p.by, k = step.ck and p.key }, sent_at(at)
  set_step(key, step)
  leave_waits(key, step)
  redis.call('HSET', run, 'd:' .. key, ARGV[3])
  count_data(#ARGV[3])
  sent(key, step, at, true)
  if not step.p then facts.attempt, facts.token, facts.round = step.a, step.d, step.ro end
else
  local number = redis.call('HINCRBY', run, 'en', 1)
  taker = '#' .. number
  if p.key then redis.call('HSET', owners, 'n' .. number, p.key) end
  redis.call('HSET', early_events(), number .. '|' .. (p.only or '') .. '|' .. p.name, ARGV[3])
  if p.by then redis.call('HSET', run, 'b:' .. number, p.by) end
end
if p.key then
  if redis.call('SADD', taken_events(), p.key) == 1 then redis.call('HINCRBY', run, 'ek', 1) end
  redis.call('HSET', owners, 'k' .. p.key, taker)
end
return { replay(owner, p.op, cjson.encode(facts)) }
