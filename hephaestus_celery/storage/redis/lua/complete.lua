-- Commit a completed step: store its result, settle its edges (joins), start what can start.
-- Mirrors core/execution/transitions.py (complete) and core/execution/joins.py (settle). One conformance suite checks
-- that both give the same results. Closes the races of two branches that settle one join, and of a crash
-- between two writes.
--   ARGV[3] history entry   ARGV[4] history entry of Done   ARGV[5] result or ''   ARGV[6] metadata or ''
--   ARGV[7...] key and config of each of the p.configs targets that get one; then the messages of p.prepared, which gives
--   for each step the number of its list among KEYS[6...], and the number of its message
--   reply: {facts}; {facts, start, ending} of the commit that ended the run; {facts, start, fields} when a computed
--   transition was decided on an older context, with the run's fields (see carried), packed. Redis keeps the facts until
--   a minute after the end of the run, so defaults are omitted: `v` applied, `before` and `after` running, `activated` the
--   taken targets, `active` none. `short`: the counted join that is why the run has failed. `posted` is true when all messages were sent. The ending is read from the run.
--   p.targets: the taken targets that a route has computed; the step keeps them
--   p.settling: the id under which stage.lua has staged the edges, where they are too many for this script; settle.lua
--   settles them afterwards
-- needs: joins commit
demand({
  run_id = 'name', op = 'string', step = 'name', fence = 'string', event = 'string', taken = 'table', dead = 'table',
  rows = 'table', attempts = 'table', rank = 'number', stuck = 'string?', expected = 'number?', configs = 'number',
  prepared = 'table?', lane = 'string?', lanes = 'table?', dispatch_timeout = 'number', retention = 'number',
  settling = 'name?', targets = 'table?', took = 'string?', kind = 'string?',
}, 6)
demand({}, 6 + 2 * p.configs)
inside('taken', is_list(p.taken, is_name))
inside('dead', is_list(p.dead, is_name))
inside('targets', p.targets == nil or is_list(p.targets, is_name))
inside('rows', is_object(p.rows, function(row)
  if type(row) ~= 'table' or not is_count(row[1]) or row[1] >= FULL * FULL then return false end
  for i = 2, #row do
    if not is_name(row[i]) then return false end
  end
  return true
end))
inside('attempts', is_object(p.attempts, is_often) and is_often(p.most))
inside('lanes', p.lanes == nil or is_object(p.lanes, is_text))
for i = 7, 5 + 2 * p.configs, 2 do inside('configs', is_name(ARGV[i])) end
demand_prepared(6 + 2 * p.configs)
local function same(one, other)
  if #one ~= #other then return false end
  for i, value in ipairs(one) do
    if value ~= other[i] then return false end
  end
  return true
end

local names = { 'st', 'app', 'adv', 'act', 'wai', 'seq', 's:' .. p.step, 'sz', 'il', 'pa' }
local fixed, asked = #names, math.min(#p.taken, UNPACKED) -- unpack() has a limited stack
for i = 1, asked do names[fixed + i] = 's:' .. p.taken[i] end
local core = redis.call('HMGET', run, unpack(names))
local status, active, waiting = core[1], tonumber(core[4]), tonumber(core[5])
local step = core[7] and cjson.decode(core[7])
-- A caller that still holds the claim has had no answer before.
local facts = not (step and step.f == p.fence) and answered(p.step, p.op)
if facts then
  local before = cjson.decode(facts)
  return not before.v and is_final(before.after) and { facts, read_start(), ending() } or { facts }
end

local at = now()
local refusal = refused(status, step, at, 'complete')
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end
if p.expected and p.expected ~= tonumber(core[2]) then
  return { cjson.encode({ v = 'conflict' }), read_start(), packed(carried(core[8], core[9], {})) }
end
if p.settling then check_staged(p.settling) end

know_own_pause(core[fixed])
-- Configs first: the settlement below may start their steps.
local bytes = #ARGV[5] + #ARGV[6]
for i = 7, 5 + 2 * p.configs, 2 do bytes = bytes + give(ARGV[i], p.rank, ARGV[i + 1]) end

for i = 1, asked do met[p.taken[i]] = core[fixed + i] ~= false end
look_up(p.taken, asked + 1)

local launch = p.step == 'done'
local activated, done, lost = {}, launch, false
local edges, first = {}, 1
for _, key in ipairs(p.taken) do edges[#edges + 1] = { key, TAKEN_EDGE } end
for _, key in ipairs(p.dead) do edges[#edges + 1] = { key, DEAD_EDGE } end
while edges[first] do
  local key = edges[first][1]
  local row = p.rows[key] or { 1 } -- the number of predecessors (see arrive), then the keys of successors
  local what = arrive(key, edges[first][2], row[1])
  first = first + 1
  if what == 'dead' then
    for i = 2, #row do edges[#edges + 1] = { row[i], DEAD_EDGE } end
    if key == 'done' then lost = true end
  elseif what == 'taken' then
    activated[#activated + 1] = key
    if key == 'done' then
      done = true
    else
      begin(key, p.attempts[key] or p.most, p.lanes and p.lanes[key] or p.lane, at)
    end
  end
end
queue(at)

-- A run that has nothing left to do and has not reached Done, or can't any more, fails. That takes a counted join that was
-- skipped, or a graph that was changed during the run.
-- A step counts as active while its edges are settled in slices (see settle.lua).
local stuck = not done and not p.settling and (lost or (#activated == 0 and active + waiting == 1))
local reserved = (launch and 0 or 3) + (done and 4 or 0) + (stuck and 1 or 0)
local sequence, last = core[6] + 1, core[6] + reserved
local advance = core[3] + (launch and 0 or 1)
if step.r then waiting = waiting - 1 else active = active - 1 end
active = active + #activated - ((done and not launch) and 1 or 0) + (p.settling and 1 or 0)
set('seq', last)
set('act', active)
set('wai', waiting)
set('app', core[2] + 1)
set('adv', advance)
if step.ro then -- what its last round was given is needed no more
  bytes = bytes - redis.call('HSTRLEN', run, 'a:' .. p.step)
  redis.call('HDEL', run, 'a:' .. p.step)
end
if core[8] and bytes ~= 0 then set('sz', core[8] + bytes) end
if ARGV[5] ~= '' then set('r:' .. p.step, ARGV[5]) end
if ARGV[6] ~= '' then set('m:' .. p.step, ARGV[6]) end
set('s:' .. p.step, cjson.encode({
  s = 'completed', a = step.a, m = step.m, e = p.event, o = sequence, g = p.targets, v = step.v, ro = step.ro,
}))
if stuck then set('f', p.stuck) end
if shortfall then set('sf', shortfall) end
if not launch then
  remember(sequence, p.event == FAILED and 'failed' or 'completed', queued(step), step.c, text(at), ARGV[3])
end
if done then reach_done(last, at, ARGV[4]) end
if p.settling then begin_settling(p.step, p.settling, { stuck = p.stuck, done = ARGV[4] }) end
write(fields)
if step.r then redis.call('HDEL', run, 'd:' .. p.step) end
clear_timer(p.step)

local after
if done then
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
if p.stream then
  local facts = launch and {} or applied_facts(step)
  if ended then ended_as(facts, after) end
  if stuck then facts.stuck, facts.shortfall = p.stuck, redis.call('HGET', run, 'sf') or nil end
  tell(launch and 'end' or 'complete', sequence, reserved, at, launch and '' or ARGV[3], facts)
end
local reply = { seq = sequence, adv = advance }
if status ~= 'running' then reply.before = status end
if after ~= 'running' then reply.after = after end
if active > 0 then reply.active = active end
if stuck then reply.short = redis.call('HGET', run, 'sf') or nil end
-- A caller that repeats the commit of a computed transition may have computed other targets meanwhile.
if p.expected or not same(activated, p.taken) then reply.activated = activated end
reply.posted = send(activated, 6 + 2 * p.configs)
facts = answer(p.step, p.op, reply, ended)
return ended and { facts, read_start(), ending(t1, states) } or { facts }
