-- Commit a completed step: store its result, settle its edges (joins), start what can start.
-- Mirrors core/execution/transitions.py (complete) and core/execution/joins.py (settle). One conformance suite checks
-- that both give the same results. Closes the races of two branches that settle one join, and of a crash
-- between two writes.
--   ARGV[3] history entry   ARGV[4] history entry of Done   ARGV[5] result or ''   ARGV[6] metadata or ''
--   ARGV[7...] key and config of each of the p.configs targets that get one; then the messages of p.prepared, which gives
--   for each step the number of its list among KEYS[6...], and the number of its message. p.at_done: what becomes of the run
--   if Done is reached; the last argument is its result (`gives`), or why that could not be computed (`fails`, with
--   p.refused for the event stream). `asks`: then nothing is done. `starts`: Done starts as any other step
--   reply: {facts}; {facts, start, ending} of the commit that ended the run; {facts, start, fields} when a computed
--   transition was decided on an older context, with the run's fields (see carried), packed; the same when the result is
--   wanted that p.at_done asks for. Redis keeps the facts until
--   a minute after the end of the run, so defaults are omitted: `v` applied, `before` and `after` running, `activated` the
--   taken targets, `active` none. `short`: the counted join that is why the run has failed. `starts`: Done has a message, too. `posted` is true when all messages were sent. The ending is read from the run.
--   p.targets: the taken targets that a route has computed; the step keeps them
--   p.undo: how the step is undone, if it has a compensation. In a run that undoes what has completed nothing follows the step:
--   see parts/late.lua. `undoes`: the run does so from now on, and `undo` is the compensation whose message is to be sent.
--   p.settling: the id under which stage.lua has staged the edges, where they are too many for this script; settle.lua
--   settles them afterwards
-- needs: joins late
demand({
  run_id = 'name', op = 'string', step = 'name', fence = 'string', event = 'string', taken = 'table', dead = 'table',
  rows = 'table', attempts = 'table', rank = 'number', stuck = 'string?', expected = 'number?', configs = 'number',
  prepared = 'table?', lane = 'string?', lanes = 'table?', dispatch_timeout = 'number', retention = 'number',
  settling = 'name?', targets = 'table?', took = 'string?', kind = 'string?', at_done = 'string?', refused = 'string?',
  undo = 'string?',
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

local names = { 'st', 'app', 'adv', 'act', 'wai', 'seq', 's:' .. p.step, 'sz', 'il', 'ue', 'un', 'pa' }
local fixed, asked = #names, math.min(#p.taken, UNPACKED) -- unpack() has a limited stack
for i = 1, asked do names[fixed + i] = 's:' .. p.taken[i] end
local core = redis.call('HMGET', run, unpack(names))
local status, active, waiting = core[1], tonumber(core[4]), tonumber(core[5])
local step = core[7] and cjson.decode(core[7])
local undoing, compensated = unpack(core, fixed - 2)
-- A caller that still holds the claim has had no answer before.
local facts = not (step and step.f == p.fence) and answered(p.step, p.op)
if facts then return again(facts) end

local at = now()
local refusal = refused(status, step, at, 'complete')
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end
if undoing then
  if not step.cp and p.event == FAILED then return fail_late(step, status, at, 'complete') end
  local ended = { s = 'completed', a = step.a, m = step.m, e = p.event, o = 0, v = step.v, ro = step.ro, cp = step.cp }
  if step.ro then redis.call('HDEL', run, 'a:' .. p.step) end
  redis.call('HINCRBY', run, 'app', 1)
  if ARGV[5] ~= '' then redis.call('HSET', run, 'r:' .. p.step, ARGV[5]) end
  if ARGV[6] ~= '' then redis.call('HSET', run, 'm:' .. p.step, ARGV[6]) end
  count_data(#ARGV[5] + #ARGV[6])
  return end_in_undoing(step, ended, status, at, {
    what = 'complete', outcome = step.cp and 'completed' or 'discarded', reserved = step.cp and 3 or 1,
    advance = step.cp, undo = not step.cp and p.undo or nil,
  })
end
if p.expected and p.expected ~= tonumber(core[2]) then
  return { cjson.encode({ v = 'conflict' }), read_start(), packed(carried(core[8], core[9], {})) }
end
if p.settling then check_staged(p.settling) end

for i = 1, asked do met[p.taken[i]] = core[fixed + i] ~= false end
look_up(p.taken, asked + 1)

local function edges_to_settle()
  local edges = {}
  for _, key in ipairs(p.taken) do edges[#edges + 1] = { key, TAKEN_EDGE } end
  for _, key in ipairs(p.dead) do edges[#edges + 1] = { key, DEAD_EDGE } end
  return edges
end
local launch = p.step == 'done'
if p.at_done == 'asks' and (launch or would_reach_done(edges_to_settle(), p.rows)) then
  return { cjson.encode({ v = 'wanted' }), read_start(), packed(carried(core[8], core[9], {})) }
end

know_own_pause(core[fixed])
-- Configs first: the settlement below may start their steps.
local bytes = #ARGV[5] + #ARGV[6]
for i = 7, 5 + 2 * p.configs, 2 do bytes = bytes + give(ARGV[i], p.rank, ARGV[i + 1]) end

local activated, done, lost = {}, launch, false
local edges, first = edges_to_settle(), 1
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
    if key == 'done' and p.at_done ~= 'starts' then
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
local outcome = done and (p.at_done == 'gives' or p.at_done == 'fails') and ARGV[#ARGV] or nil
local fails = outcome and p.at_done == 'fails'
local reserved = (launch and 0 or 3) + (done and (fails and 3 or 4) or 0) + (stuck and 1 or 0)
local sequence, last = core[6] + 1, core[6] + reserved
local advance = core[3] + (launch and 0 or 1)
if step.r then waiting = waiting - 1 else active = active - 1 end
active = active + #activated - ((done and not launch) and 1 or 0) + (p.settling and 1 or 0)
set('seq', last)
set('act', active)
set('wai', waiting)
set('app', core[2] + 1)
set('adv', advance)
if outcome and not fails then
  set('r:done', outcome)
  bytes = bytes + #outcome
end
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
if p.undo and compensated and p.event ~= FAILED then
  local number = compensated + 1
  compensated = text(number)
  set('un', compensated)
  set('u:' .. compensated, p.undo)
end
if stuck then set('f', p.stuck) end
if shortfall then set('sf', shortfall) end
if not launch then
  remember(sequence, p.event == FAILED and 'failed' or 'completed', queued(step), step.c, text(at), ARGV[3])
end
if done then reach_done(last, at, ARGV[4], fails and outcome) end
if p.settling then
  begin_settling(p.step, p.settling, { stuck = p.stuck, done = ARGV[4], starts = p.at_done == 'starts' or nil })
end
write(fields)
if step.r then redis.call('HDEL', run, 'd:' .. p.step) end
clear_timer(p.step)

local after, t1, states, key
if done and not fails then
  after = 'completed'
  t1, states = finish(status, after, at)
elseif stuck or fails then
  after, t1, states, key = stop(status, 'failed', compensated, at)
else
  after = (active > 0 or waiting == 0) and 'running' or 'waiting'
  set_status(status, after)
end
local ended = is_final(after)
if ended then active = 0 end
if p.stream then
  local facts = launch and {} or applied_facts(step)
  if ended then ended_as(facts, after) end
  if (stuck or fails) and not ended then facts.begins = '1' end
  if stuck and ended then facts.stuck, facts.shortfall = p.stuck, redis.call('HGET', run, 'sf') or nil end
  if fails then facts.refused = p.refused end
  tell(launch and 'end' or 'complete', sequence, reserved, at, launch and '' or ARGV[3], facts)
end
local reply = { seq = sequence, adv = advance }
if status ~= 'running' then reply.before = status end
if after ~= 'running' then reply.after = after end
if (stuck or fails) and not ended then
  reply.undoes = true
  active = tonumber(redis.call('HGET', run, 'act'))
end
if active > 0 then reply.active = active end
if stuck and ended then reply.short = redis.call('HGET', run, 'sf') or nil end
-- A caller that repeats the commit of a computed transition may have computed other targets meanwhile.
if p.expected or not same(activated, p.taken) then reply.activated = activated end
if p.at_done == 'starts' then reply.starts = true end
if not reply.undoes then reply.posted = send(activated, 6 + 2 * p.configs, p.at_done == 'starts') end
facts = answer(p.step, p.op, with_next(reply, key), ended)
return ended and { facts, read_start(), ending(t1, states) } or { facts }
