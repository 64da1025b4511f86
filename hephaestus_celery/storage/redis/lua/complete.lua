-- A claimed step gives an event: record its result, settle its edges, start what can start, end the run where Done is
-- reached. Mirrors core/run.py (complete) and core/engine.py (settle); one conformance suite holds both to the same
-- results. Closes the races of two branches that settle one join, and of a crash between any two of these writes.
--   ARGV[3] history entry   ARGV[4] history entry of Done   ARGV[5] result or ''   ARGV[6] metadata or ''
--   ARGV[7...] key, config: of p.configs taken targets that are given one; then the messages of p.parcels, which says
--   for each step: the number of its list among KEYS[6...], the number of its message
--   reply: {facts}, {facts, start, ending} of the commit that ended the run, or, when a computed transition was decided on an
--   older context, {facts, start, the run's fields (see carried), packed}. The facts are kept until a minute after the end of the run, so
--   they are short: what they don't say is as it mostly is. `v` applied, `before` and `after` running, `activated` the taken
--   targets, `active` none; `posted` is true where it is all of them. The ending is what the run itself says.
demand({
  run_id = 'name', op = 'string', step = 'name', fence = 'string', event = 'string', taken = 'table', dead = 'table',
  rows = 'table', attempts = 'table', rank = 'number', stuck = 'string?', expected = 'number?', configs = 'number',
  parcels = 'table?', lane = 'string?', lanes = 'table?', dispatch_timeout = 'number', retention = 'number',
}, 6)
demand({}, 6 + 2 * p.configs)
for _, keys in ipairs({ p.taken, p.dead }) do
  for _, key in ipairs(keys) do
    local row = p.rows[key]
    if type(key) ~= 'string' or (row and type(row) ~= 'table') then error('nothing was done: bad rows', 0) end
  end
end
local function same(one, other)
  if #one ~= #other then return false end
  for i, value in ipairs(one) do
    if value ~= other[i] then return false end
  end
  return true
end

local names = { 'st', 'app', 'adv', 'act', 'wai', 'seq', 's:' .. p.step, 'sz', 'il' }
local fixed, asked = #names, math.min(#p.taken, 900) -- unpack() has a limited stack
for i = 1, asked do names[fixed + i] = 's:' .. p.taken[i] end
local core = redis.call('HMGET', run, unpack(names))
local status, active, waiting = core[1], tonumber(core[4]), tonumber(core[5])
local step = core[7] and cjson.decode(core[7])
-- Who holds the claim has not been answered yet.
local facts = not (step and step.f == p.fence) and answered(p.step, p.op)
if facts then
  local ended = string.find(facts, '"after":"[cf]') and not string.find(facts, '"v":')
  return ended and { facts, read_start(), ending() } or { facts }
end

local at = now()
local refusal = refused(status, step, at)
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end
if p.expected and p.expected ~= tonumber(core[2]) then
  return { cjson.encode({ v = 'conflict' }), read_start(), packed(carried(core[8], core[9], {})) }
end

local fields = {} -- what is written in the end, names and values
local bytes = #ARGV[5] + #ARGV[6]
local function set(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end

-- Configs first: the settlement below may start their steps. Where several sources give one, the lowest rank wins.
for i = 7, 5 + 2 * p.configs, 2 do
  local field = 'c:' .. ARGV[i]
  local held = redis.call('HGET', run, field)
  if not held or tonumber(string.match(held, '^(%d+)|')) > p.rank then
    set(field, p.rank .. '|' .. ARGV[i + 1])
    bytes = bytes + #ARGV[i + 1]
  end
end

-- A step begins, or is skipped, once in a run, whatever its predecessors have become: in a definition that was changed under
-- the run they may be fewer than had come by then.
local met = {}
for i = 1, asked do met[p.taken[i]] = core[fixed + i] ~= false end
for from = asked + 1, #p.taken, 900 do
  local more, to = {}, math.min(from + 899, #p.taken)
  for i = from, to do more[#more + 1] = 's:' .. p.taken[i] end
  for i, value in ipairs(redis.call('HMGET', run, unpack(more))) do met[p.taken[from + i - 1]] = value ~= false end
end
local function is_met(key)
  if met[key] == nil then met[key] = redis.call('HEXISTS', run, 's:' .. key) == 1 end
  return met[key]
end

-- Steps that start are many at once where a step fans out, and mostly alike: one state is written for all of a lane and a
-- number of attempts, and those of a lane are queued together.
local alike, queues = {}, {}
local function begin(key)
  local lane = p.lanes and p.lanes[key] or p.lane
  local attempts = p.attempts[key] or p.most
  local of_lane = alike[lane or '']
  if not of_lane then
    of_lane = {}
    alike[lane or ''], queues[lane or ''] = of_lane, {}
  end
  if not of_lane[attempts] then
    of_lane[attempts] = cjson.encode({ s = 'active', a = 1, m = attempts, d = 1, q = text(at), k = lane, t = sent_at(at) })
  end
  set('s:' .. key, of_lane[attempts])
  table.insert(queues[lane or ''], key)
end

local launch = p.step == 'done'
local activated, done = {}, launch
local edges, first = {}, 1
for _, key in ipairs(p.taken) do edges[#edges + 1] = { key, 65537 } end -- settled in the low 16 bits, taken above
for _, key in ipairs(p.dead) do edges[#edges + 1] = { key, 1 } end
while edges[first] do
  local key, arrival = edges[first][1], edges[first][2]
  first = first + 1
  local row = p.rows[key] or { 1 } -- number of predecessors, then the keys of successors
  local count
  if row[1] > 1 then count = redis.call('HINCRBY', run, 'p:' .. key, arrival)
  elseif arrival > 1 then count = arrival
  else count = arrival + (redis.call('HGET', run, 'p:' .. key) or 0) end -- of several predecessors that it had once
  if count % 65536 >= row[1] and not is_met(key) then
    met[key] = true
    if count < 65536 then
      set('s:' .. key, '{"s":"skipped","a":0}')
      for i = 2, #row do edges[#edges + 1] = { row[i], 1 } end
    else
      activated[#activated + 1] = key
      if key == 'done' then
        done = true
      else
        begin(key)
      end
    end
  end
end

for lane, keys in pairs(queues) do all_sent(keys, lane ~= '' and lane or nil, at) end

-- Nothing left to do without Done is a failure: no sound graph comes to that, one changed under a run may.
local stuck = not done and #activated == 0 and active + waiting == 1
local reserved = (launch and 0 or 3) + (done and 4 or 0) + (stuck and 1 or 0)
local sequence, last = core[6] + 1, core[6] + reserved
local advance = core[3] + (launch and 0 or 1)
if step.r then waiting = waiting - 1 else active = active - 1 end
active = active + #activated - ((done and not launch) and 1 or 0)
set('seq', last)
set('act', active)
set('wai', waiting)
set('app', core[2] + 1)
set('adv', advance)
if core[8] and bytes > 0 then set('sz', core[8] + bytes) end
if ARGV[5] ~= '' then set('r:' .. p.step, ARGV[5]) end
if ARGV[6] ~= '' then set('m:' .. p.step, ARGV[6]) end
set('s:' .. p.step, cjson.encode({ s = 'completed', a = step.a, m = step.m, e = p.event, o = sequence }))
if done then set('s:done', cjson.encode({ s = 'completed', a = 1, e = 'done', o = last })) end
if stuck then set('f', p.stuck) end
write(fields)
if step.r then redis.call('HDEL', run, 'd:' .. p.step) end
clear_timer(p.step)
if not launch then
  remember(sequence, 'completed', queued(step), step.c, text(at), ARGV[3])
end

local after
if done then
  remember(last - 2, 'completed', text(at), text(at), text(at), ARGV[4])
  after = 'completed'
elseif stuck then
  after = 'failed'
else
  after = (active > 0 or waiting == 0) and 'running' or 'waiting'
end
local ended = is_final(after)
local t1, states
if ended then
  t1, states = finish(status, after, at)
  active = 0
else
  set_status(status, after)
end
local reply = { seq = sequence, adv = advance }
if status ~= 'running' then reply.before = status end
if after ~= 'running' then reply.after = after end
if active > 0 then reply.active = active end
-- Who asks again about a computed transition may have decided on other targets by then.
if p.expected or not same(activated, p.taken) then reply.activated = activated end
if p.parcels then
  local posted, meant = {}, 0
  for _, key in ipairs(activated) do
    local parcel = p.parcels[key]
    if key ~= 'done' then meant = meant + 1 end
    if parcel and post(KEYS[5 + parcel[1]], ARGV[6 + 2 * p.configs + parcel[2]]) then posted[#posted + 1] = key end
  end
  if #posted > 0 then reply.posted = #posted == meant or posted end
end
facts = answer(p.step, p.op, reply, ended)
return ended and { facts, read_start(), ending(t1, states) } or { facts }
