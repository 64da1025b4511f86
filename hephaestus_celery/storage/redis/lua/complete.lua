-- A claimed step gives an event: record its result, settle its edges, start what can start, end the run where Done is
-- reached. Mirrors core/run.py (complete) and core/engine.py (settle); one conformance suite holds both to the same
-- results. Closes the races of two branches that settle one join, and of a crash between any two of these writes.
--   ARGV[3] history entry   ARGV[4] history entry of Done   ARGV[5] result or ''   ARGV[6] metadata or ''
--   ARGV[7...] key, config: of p.configs taken targets that are given one; then the messages of p.parcels, which says
--   for each step: the number of its list among KEYS[6...], the number of its message
--   reply: {facts, start} or, when a computed transition was decided on an older context, {facts, start, lengths, fields}
local facts = answered(p.step, p.op)
if facts then return { facts, read_start() } end

local core = redis.call('HMGET', run, 'st', 'app', 'adv')
local status = core[1]
local at = now()
local step = get_step(p.step)
local refusal = refused(status, step, at)
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal), '' } end
  return { answer(p.step, p.op, refusal), '' }
end
if p.expected and p.expected ~= tonumber(core[2]) then
  return { cjson.encode({ v = 'conflict' }), read_start(), packed(redis.call('HGETALL', run)) }
end

-- Configs first: the settlement below may start their steps. Where several sources give one, the lowest rank wins.
for i = 7, 5 + 2 * p.configs, 2 do
  local field = 'c:' .. ARGV[i]
  local held = redis.call('HGET', run, field)
  if not held or tonumber(string.match(held, '^(%d+)|')) > p.rank then
    redis.call('HSET', run, field, p.rank .. '|' .. ARGV[i + 1])
  end
end

local launch = p.step == 'done'
local activated, skipped, done = {}, 0, launch
local edges, first = {}, 1
for _, key in ipairs(p.taken) do edges[#edges + 1] = { key, 65537 } end -- settled in the low 16 bits, taken above
for _, key in ipairs(p.dead) do edges[#edges + 1] = { key, 1 } end
while edges[first] do
  local key, arrival = edges[first][1], edges[first][2]
  first = first + 1
  local row = p.rows[key] -- number of predecessors, then the keys of successors
  local count = row[1] == 1 and arrival or redis.call('HINCRBY', run, 'p:' .. key, arrival)
  if count % 65536 >= row[1] then
    if count < 65536 then
      skipped = skipped + 1
      set_step(key, { s = 'skipped', a = 0 })
      for i = 2, #row do edges[#edges + 1] = { row[i], 1 } end
    else
      activated[#activated + 1] = key
      if key == 'done' then
        done = true
      else
        set_step(key, { s = 'active', a = 1, m = p.attempts[key], d = 1, q = text(at) })
        set_timer(key, at + p.dispatch_timeout)
      end
    end
  end
end

-- Nothing left to do without Done is a failure: no sound graph comes to that, one changed under a run may.
local counts = redis.call('HMGET', run, 'act', 'wai')
local stuck = not done and #activated == 0 and counts[1] + counts[2] == 1
local reserved = (launch and 0 or 3) + (done and 4 or 0) + (stuck and 1 or 0)
local last = redis.call('HINCRBY', run, 'seq', reserved)
local sequence = last - reserved + 1
local source = step.r and 'wai' or 'act'
local started = #activated - ((done and not launch) and 1 or 0)
if source == 'wai' then redis.call('HINCRBY', run, 'wai', -1) end
local active = redis.call('HINCRBY', run, 'act', started - (source == 'act' and 1 or 0))
redis.call('HSET', run, 'app', core[2] + 1, 'adv', core[3] + (launch and 0 or 1))
if ARGV[5] ~= '' then redis.call('HSET', run, 'r:' .. p.step, ARGV[5]) end
if ARGV[6] ~= '' then redis.call('HSET', run, 'm:' .. p.step, ARGV[6]) end
if step.r then redis.call('HDEL', run, 'd:' .. p.step) end
set_step(p.step, { s = 'completed', a = step.a, m = step.m, e = p.event, o = sequence })
clear_timer(p.step)
if not launch then
  remember(sequence, 'completed', queued(step), step.c, text(at), ARGV[3])
end

local after, completed
if done then
  set_step('done', { s = 'completed', a = 1, e = 'done', o = last })
  remember(last - 2, 'completed', text(at), text(at), text(at), ARGV[4])
  after = 'completed'
  completed = finish(status, after, at)
  active = 0
elseif stuck then
  redis.call('HSET', run, 'f', p.stuck)
  after = 'failed'
  completed = finish(status, after, at)
  active = 0
else
  after = derived()
  set_status(status, after)
end
local reply = {
  v = 'applied', seq = sequence, before = status, after = after, adv = core[3] + (launch and 0 or 1),
  active = active, activated = activated, completed = completed,
}
if completed then reply.t1 = text(at) end
if p.parcels then
  local posted = {}
  for _, key in ipairs(activated) do
    local parcel = p.parcels[key]
    if parcel and post(KEYS[5 + parcel[1]], ARGV[6 + 2 * p.configs + parcel[2]]) then posted[#posted + 1] = key end
  end
  reply.posted = posted
end
return { answer(p.step, p.op, reply), completed and read_start() or '' }
