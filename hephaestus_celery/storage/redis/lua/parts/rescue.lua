-- Rescues: an attempt is taken from a lost worker, or a lost message is sent again. Mirrors core/execution/due.py.
-- needs: sending stream

-- The history entry of a rescue, whose fields are those of the attempt. What is newer than `by` stands where older code does not look:
-- see storage/history_entries.py.
local function rescue_entry(key, step, reason)
  if not step.ro and not step.cp then
    return cjson.encode({ kind = 'rescue', step = key, attempt = step.a, reason = reason, worker = p.worker })
  end
  local known = { { 'kind', 'rescue' }, { 'step', key }, { 'attempt', step.a }, { 'reason', reason } }
  if p.worker then known[#known + 1] = { 'worker', p.worker } end
  return cjson.encode({ ['$type'] = 'mapping', value = known, round = step.ro, compensates = step.cp })
end

-- Take a claimed step from its worker, and record it. Gives the number of that event.
local function seize(key, step, fence, at, lease, reason)
  local sequence, entry = redis.call('HINCRBY', run, 'seq', 1), rescue_entry(key, step, reason)
  remember(sequence, '', nil, nil, text(at), entry)
  tell('rescue', sequence, 1, at, entry)
  step.f, step.z, step.h = fence, sequence, nil
  set_step(key, step)
  set_timer(key, at + lease)
  return sequence
end

-- Have a step's message sent again: the last one is lost, or the worker that applied its event. Gives the number of
-- that event.
local function send_again(key, step, at, reason)
  step.f, step.d, step.n = nil, step.d + 1, (step.n or 0) + 1
  if step.k then step.t = text(at - now() + steady()) end
  if step.k or is_held() then
    sent(key, step, at, true)
  else
    set_timer(key, late_at(step, at))
  end
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  local entry = rescue_entry(key, step, reason)
  remember(sequence, '', nil, nil, text(at), entry)
  tell('rescue', sequence, 1, at, entry)
  return sequence
end

-- Kinds of losses. Schedulers of other versions read them too, so the old names stay.
local LEASE_EXPIRED, TIMED_OUT = 'lapsed', 'overran'

-- The entry of a rescue: all that the caller needs to emit it, and to fail a lost attempt. `held`: nothing is sent. A tick hands over up to a
-- hundred of these, so long headers are left out; then the caller reads the run.
local function rescue(kind, key, step, sequence)
  local core = redis.call('HMGET', run, 'name', 'version', 'st', 't0', 'mh')
  local brief = redis.call('HSTRLEN', run, 'h') <= HANDED_HEADER
  return {
    kind = kind, run = p.run_id, name = core[1], version = core[2], step = key, attempt = step.a, token = step.d, round = step.ro,
    seq = sequence, header = brief and redis.call('HGET', run, 'h') or nil, status = core[3], started = core[4],
    start = read_start(), state = cjson.encode(step), headers = core[5] or nil, fence = step.f, at = text(now()),
    held = step.p and true or nil,
  }
end
