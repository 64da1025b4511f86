-- Settle a slice of the edges of a wide step that has completed, and start what can start: see parts/joins.lua.
-- Closes the races of the committing process with a scheduler that takes over, and of a crash between two slices.
--   p.source: the step, or '' for the first steps of a run   p.at_once: the caller continues when the tick hands it over
--   ARGV[3...] the messages of p.prepared
--   reply: {facts}, or {facts, start, ending} where this slice has ended the run. `v` stale: nothing is left to settle.
--   `settled` is the number of edges of this slice, from `position`; `left` of those that remain; `ending` the number of
--   the first event of the end. For the other facts see complete.lua
-- needs: joins undoing stream
demand({
  run_id = 'name', op = 'string', source = 'string', limit = 'number', at_once = 'boolean?', prepared = 'table?',
  dispatch_timeout = 'number', retention = 'number',
})
demand_prepared(2)
local slot = '|settle|' .. p.source
local facts = answered(slot, p.op)
if facts then return is_final(cjson.decode(facts).after) and { facts, read_start(), ending() } or { facts } end

local core = redis.call('HMGET', run, 'st', 'act', 'wai', 'seq', 'adv', 'sz', 'g:' .. p.source, 'pa')
local status, active, waiting = core[1], tonumber(core[2]), tonumber(core[3])
local about = core[7] and cjson.decode(core[7])
if not about or is_final(status) then return { '{"v":"stale"}' } end

-- Read the target of each edge before anything is written.
check_staged(about.id)
local places = staged(about.id)
local edges = redis.call('LRANGE', places[1], 0, p.limit - 1)
local keys, names = {}, {}
for i, edge in ipairs(edges) do keys[i] = string.sub(edge, 2) end
for _, key in ipairs(keys) do names[#names + 1] = key end
for _, key in ipairs(keys) do names[#names + 1] = '|' .. key end
local found = #names > 0 and redis.call('HMGET', places[2], unpack(names)) or {}
local rows = {}
for i in ipairs(keys) do
  if not found[i] then error('nothing was done: what follows the step is incomplete', 0) end
  local row = cjson.decode(found[i])
  rows[i] = row
  -- The number of predecessors (see arrive), the most attempts, the lane or '', the keys of successors.
  if type(row) ~= 'table' or not (is_count(row[1]) and is_often(row[2]) and type(row[3]) == 'string') then inside('rows') end
  for j = 4, #row do inside('rows', is_name(row[j])) end
  if found[#keys + i] then inside('configs', string.find(found[#keys + i], '^%d+|')) end
end

if p.source ~= '' then know_own_pause(core[8]) end -- as a commit; a start asks for the pause of its workflow too
local at = now()
local bytes = 0
look_up(keys, 1)
local activated, further = {}, {}
for i, key in ipairs(keys) do
  local row, config = rows[i], found[#keys + i]
  if config then bytes = bytes + give(key, tonumber(string.match(config, '^%d+')), string.match(config, '^%d+|(.*)$')) end
  local what = arrive(key, string.sub(edges[i], 1, 1) == '1' and TAKEN_EDGE or DEAD_EDGE, row[1])
  if what == 'dead' then
    for j = 4, #row do further[#further + 1] = '0' .. row[j] end
    if key == 'done' then about.lost = true end
  elseif what == 'taken' then
    activated[#activated + 1] = key
    if key == 'done' and p.source ~= '' and not about.starts then
      about.reached = true -- the run ends when all edges are settled
      set('s:done', cjson.encode({ s = 'active', a = 1, m = 1, d = 1, q = text(at) }))
    else
      begin(key, row[2], row[3] ~= '' and row[3] or nil, at)
    end
  end
end
queue(at)
local position = about.n or 0
about.n = position + #edges
redis.call('LTRIM', places[1], #edges, -1)
for from = 1, #further, UNPACKED do redis.call('RPUSH', places[1], unpack(further, from, math.min(from + UNPACKED - 1, #further))) end

local left = redis.call('LLEN', places[1])
local entry = settle_due(p.source, about.id)
active = active + #activated - (left == 0 and 1 or 0)
local stuck = left == 0 and not about.reached and (about.lost or active + waiting == 0)
local done = left == 0 and about.reached
local reserved = done and 4 or stuck and 1 or 0
set('act', active)
if core[6] and bytes > 0 then set('sz', core[6] + bytes) end
if reserved > 0 then set('seq', core[4] + reserved) end
if done then reach_done(core[4] + reserved, at, about.done) end
if stuck then set('f', about.stuck) end
if shortfall and not about.short then
  about.short = true
  set('sf', shortfall)
end
if left > 0 then set('g:' .. p.source, cjson.encode(about)) end
write(fields)
if left > 0 then
  redis.call('ZADD', due, text(steady() + (p.at_once and 0 or SETTLE_PAUSE)), entry)
else
  redis.call('HDEL', run, 'g:' .. p.source)
  redis.call('ZREM', due, entry)
  redis.call('UNLINK', unpack(places))
end

local reply = { seq = core[4] + 1, adv = tonumber(core[5]), position = position, settled = #edges, left = left }
if #activated > 0 then reply.activated = activated end
local after = status
local t1, states
local key
if done or stuck then
  if done then
    after = 'completed'
    t1, states = finish(status, after, at)
  else
    after, t1, states, key = stop(status, 'failed', redis.call('HGET', run, 'un'), at)
  end
  active = is_final(after) and 0 or tonumber(redis.call('HGET', run, 'act'))
  reply.ending = core[4] + 1
  if not is_final(after) then reply.undoes = true end
  if p.stream then
    local facts = reply.undoes and { begins = '1' } or ended_as({}, after)
    if stuck and not reply.undoes then facts.stuck, facts.step, facts.shortfall = about.stuck, p.source, redis.call('HGET', run, 'sf') or nil end
    tell('end', core[4] + 1, reserved, at, '', facts)
  end
elseif left == 0 and status ~= 'pending' then
  after = (active > 0 or waiting == 0) and 'running' or 'waiting'
  set_status(status, after)
end
if status ~= 'running' then reply.before = status end
if after ~= 'running' then reply.after = after end
if active > 0 then reply.active = active end
if stuck and not reply.undoes then reply.short = redis.call('HGET', run, 'sf') or nil end
reply.starts = about.starts
if not reply.undoes then reply.posted = send(activated, 2, about.starts) end
facts = answer(slot, p.op, with_next(reply, key), is_final(after))
return is_final(after) and { facts, read_start(), ending(t1, states) } or { facts }
