-- Commit that a step is executed again, in another round, after a time; without one its message is to be sent at once.
-- Closes the race with a rescue: a worker that lost the fence changes nothing. A run needs a newer schema number from its first
-- round on, also when a pause is over.
-- Mirrors core/execution/rounds.py.
--   ARGV[3] history entry   ARGV[4] what the round is given, or ''
--   reply: {facts}, or {facts, start, ending}; see complete.lua. A step is dropped instead if its run undoes what has completed.
-- needs: late
demand({
  run_id = 'name', op = 'string', step = 'name', key = 'name', fence = 'string', delay = 'number', dispatch_timeout = 'number',
  retention = 'number', took = 'string?',
}, 4)
local facts = answered(p.step, p.op)
if facts then return again(facts) end

local core = redis.call('HMGET', run, 'st', 'adv', 't0', 'schema', 'pa', 'sz', 'rg', 'ue')
local status = core[1]
local at = now()
local step = get_step(p.step)
local refusal = refused(status, step, at, 'again')
if refusal then
  if refusal.v == 'stale' then return { cjson.encode(refusal) } end
  return { answer(p.step, p.op, refusal) }
end
if step.r then return { cjson.encode({ v = 'stale' }) } end
if core[8] and not step.cp then
  return end_in_undoing(step, as_dropped(get_step(p.step)), status, at, { what = 'again', outcome = 'discarded', reserved = 1 })
end

if tonumber(core[4] or '1') < ROUNDS then
  redis.call('HSET', run, 'schema', ROUNDS)
  -- The pause keeps the number that the run has when it is over.
  if core[5] then redis.call('HSET', run, 'pa', (string.gsub(core[5], '^(%d+)|%d+|', '%1|' .. ROUNDS .. '|'))) end
end

local bytes = #ARGV[4] - redis.call('HSTRLEN', run, 'a:' .. p.step)
if ARGV[4] ~= '' then redis.call('HSET', run, 'a:' .. p.step, ARGV[4])
elseif bytes < 0 then redis.call('HDEL', run, 'a:' .. p.step) end
if core[6] and bytes ~= 0 then redis.call('HINCRBY', run, 'sz', bytes) end

-- The first entries stay in the history. A later one takes the place of an earlier one, and one more stands for all of these.
local sequence = redis.call('HINCRBY', run, 'seq', 1)
local line, number = line_of(sequence, 'again', queued(step), step.c, text(at), ARGV[3]), (step.no or 0) + 1
if number <= FIRST_KEPT then
  redis.call('RPUSH', history, line)
else
  local place = (number - FIRST_KEPT - 1) % LAST_KEPT .. '|' .. p.step
  local last, left_out = redis.call('HGET', later_rounds(), place), number - FIRST_KEPT - LAST_KEPT
  if last then
    local before, ended = string.match(last, '^(%d+)|[^|]*|[^|]*|[^|]*|([^|]*)|')
    local reason = 'stands for ' .. text(left_out) .. (left_out == 1 and ' round' or ' rounds')
    local entry = { kind = 'attempt', step = p.key, reason = reason }
    if step.cp then -- where older code does not look: see storage/history_entries.py
      entry = { ['$type'] = 'mapping', value = { { 'kind', 'attempt' }, { 'step', p.key }, { 'reason', reason } }, compensates = step.cp }
    end
    redis.call('HSET', later_rounds(), '|' .. p.step, line_of(before, 'again', nil, nil, ended, cjson.encode(entry)))
  end
  redis.call('HSET', later_rounds(), place, line)
  if not core[7] then redis.call('HSET', run, 'rg', 1) end
end
if p.stream then
  local told = applied_facts(step)
  told.delay = text(p.delay)
  tell('again', sequence, 1, at, ARGV[3], told)
end

step.a, step.d, step.ro, step.no = 1, step.d + 1, (step.ro or 1) + 1, number
step.f, step.l, step.h, step.n, step.t = nil, nil, nil, nil, nil
step.q = text(at + p.delay)
local waits = p.delay > 0
if waits then
  step.s, step.b, step.w, step.x = 'waiting', 1, text(at), {}
  set_step(p.step, step)
  enter_waits(p.step, step, core[3])
  set_soon(step_due(p.step), at + p.delay, at)
  redis.call('HINCRBY', run, 'wai', 1)
else
  step.t = sent_at(at)
  set_step(p.step, step)
  sent(p.step, step, at, true)
end
local active = redis.call('HINCRBY', run, 'act', waits and -1 or 0)
local after = step.cp and 'running' or derived()
set_status(status, after)
return { answer(p.step, p.op, {
  v = 'applied', seq = sequence, before = status, after = after, adv = tonumber(core[2]), active = active,
  resumed = not waits and not step.p, attempt = step.a, token = step.d, round = step.ro,
}) }
