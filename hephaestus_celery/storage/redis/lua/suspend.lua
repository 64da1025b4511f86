-- Commit that a step waits for an event or a timeout.
-- An event that was kept for the step is delivered at once. Closes the race of an event with this commit: no event is
-- lost between the two.
-- With p.discards the step waits already: the event that this worker applies is dropped with its key, and the timeout is as
-- it was. p.checks: events of this step may be dropped so; step.to is when its timeout comes due.
--   ARGV[3] history entry
--   reply: {facts}, or {facts, start, ending}; see complete.lua. A step is dropped instead if its run undoes what has completed.
-- needs: late
demand({
  run_id = 'name', op = 'string', step = 'name', fence = 'string', accepts = 'table', names = 'table', timeout = 'number?',
  dispatch_timeout = 'number', retention = 'number', took = 'string?', checks = 'boolean?', discards = 'boolean?',
}, 3)
inside('accepts', is_object(p.accepts, is_text))
inside('names', is_list(p.names, function(name) return type(name) == 'string' and p.accepts[name] end))
local facts = answered(p.step, p.op)
if facts then return again(facts) end

-- Older versions kept one early event of each name in the run itself. It comes before those of the queues.
local slots = {}
for _, name in ipairs(p.names) do -- in the order of declaration; events for this step alone come first
  slots[#slots + 1] = p.step .. '|' .. name
  slots[#slots + 1] = '|' .. name
end
local wanted, core = { 'st', 'adv', 'en', 't0', 'ek', 'ue' }, {}
for _, slot in ipairs(slots) do wanted[#wanted + 1] = 'e:' .. slot end
for from = 1, #wanted, UNPACKED do -- in slices: unpack() has a limited stack
  for _, value in ipairs(redis.call('HMGET', run, unpack(wanted, from, math.min(from + UNPACKED - 1, #wanted)))) do
    core[#core + 1] = value
  end
end
local status = core[1]
local at = now()
local step = get_step(p.step)
local refusal = refused(status, step, at, 'suspend')
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end

if p.discards and not step.r then return { cjson.encode({ v = 'stale' }) } end
if core[6] and not step.cp then
  local dropped = as_dropped(get_step(p.step))
  local what = p.discards and 'discard' or 'suspend'
  return end_in_undoing(step, dropped, status, at, { what = what, outcome = 'discarded', reserved = 1 })
end

local sequence = redis.call('HINCRBY', run, 'seq', 1)
if p.discards then
  remember(sequence, 'discarded', queued(step), step.c, text(at), ARGV[3])
  tell('discard', sequence, 1, at, ARGV[3], p.stream and applied_facts(step))
  redis.call('HDEL', run, 'd:' .. p.step)
  if step.r.k then
    if redis.call('SREM', taken_events(), step.r.k) == 1 then redis.call('HINCRBY', run, 'ek', -1) end
    redis.call('HDEL', owners_of_keys(), 'k' .. step.r.k)
  end
  step.r = nil
else
  remember(sequence, 'waiting', step.q, step.c, text(at), ARGV[3])
  tell('suspend', sequence, 1, at, ARGV[3], p.stream and commit_facts({ undoes = step.cp and '1' or nil }))
  step.s, step.w, step.x, step.ck = 'waiting', text(at), p.accepts, p.checks and 1 or nil
  step.to = p.checks and p.timeout and text(steady() + p.timeout) or nil
end
step.f, step.l, step.d, step.n, step.t = nil, nil, step.d + 1, nil, nil

-- The number of the first kept event in each slot.
local function first_of_each()
  local first = {}
  for _, field in ipairs(core[3] and redis.call('HKEYS', early_events()) or {}) do
    local number, slot = string.match(field, '^(%d+)|(.*)$')
    number = tonumber(number)
    if not first[slot] or number < first[slot] then first[slot] = number end
  end
  return first
end

local function take(hash, field, name, number)
  step.r = { e = p.accepts[name], s = 'external', at = text(at) }
  local data = redis.call('HGET', hash, field)
  redis.call('HSET', run, 'd:' .. p.step, data)
  count_data(#data)
  redis.call('HDEL', hash, field)
  local key = number and core[5] and redis.call('HGET', owners_of_keys(), 'n' .. number)
  if key then
    redis.call('HSET', owners_of_keys(), 'k' .. key, 's' .. p.step)
    redis.call('HDEL', owners_of_keys(), 'n' .. number)
    if step.ck then step.r.k = key end
  end
end

local first = first_of_each()
for i, slot in ipairs(slots) do
  local name = p.names[math.ceil(i / 2)]
  if not step.r and core[6 + i] then
    take(run, 'e:' .. slot, name)
  elseif not step.r and first[slot] then
    local number = text(first[slot])
    take(early_events(), number .. '|' .. slot, name, number)
    step.r.b = redis.call('HGET', run, 'b:' .. number) or nil
    if step.r.b then redis.call('HDEL', run, 'b:' .. number) end
  end
end
-- A timer that came due before the step waited delivers its timeout now, whatever events the step accepts.
if not step.r and redis.call('HDEL', run, 'e:' .. p.step .. '||timeout') == 1 then
  step.r = { e = 'timeout', s = 'timeout', at = text(at) }
end
if step.r then step.t = sent_at(at) end
set_step(p.step, step)
if step.r then
  sent(p.step, step, at, true)
elseif p.timeout or (p.discards and step.to) then
  enter_waits(p.step, step, core[4])
  set_soon(step_due(p.step), at + (p.timeout or tonumber(step.to) - steady()), at)
else
  enter_waits(p.step, step, core[4])
  clear_timer(p.step)
end
local moved = p.discards and 0 or 1
redis.call('HINCRBY', run, 'wai', moved)
local active = redis.call('HINCRBY', run, 'act', -moved)
local after = step.cp and 'running' or derived()
set_status(status, after)
return { answer(p.step, p.op, {
  v = 'applied', seq = sequence, before = status, after = after, adv = tonumber(core[2]), active = active,
  resumed = step.r ~= nil and not step.p, attempt = step.a, token = step.d, round = step.ro,
}) }
