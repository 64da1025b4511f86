-- What has come due in this partition is done, or handed to the caller where it takes Python. One caller at a time: the
-- holder of the scheduler key, which runs out by itself when the holder is gone. Closes the race of a timer with
-- whatever else happens to its step: what an entry means is read from the step's state in the same moment.
--   reply: {held ('1' or '0'), microseconds until the next entry or '', more ('1' or '0'), entries}
local seat = prefix .. 'scheduler'
local holder = redis.call('GET', seat)
if holder and holder ~= p.owner then return { '0', '', '0', '[]' } end
redis.call('SET', seat, p.owner, 'PX', p.ttl)

local entries = {}

local function prune(run_id, member)
  local core = redis.call('HMGET', run, 'tags', 'st', 'family', 'id')
  if core[2] then
    for _, index in ipairs({ 'all', 'status:' .. core[2], 'family:' .. core[3], 'id:' .. core[4] }) do
      redis.call('ZREM', prefix .. 'index:' .. index, run_id)
    end
    for _, tag in ipairs(core[1] and cjson.decode(core[1]) or {}) do
      redis.call('ZREM', prefix .. 'index:tag:' .. tag, run_id)
    end
  end
  redis.call('DEL', run, start, history, answers)
  redis.call('ZREM', due, member)
end

local function hand_over(kind, key, step, sequence)
  local core = redis.call('HMGET', run, 'name', 'version')
  entries[#entries + 1] = {
    kind = kind, run = p.run_id, name = core[1], version = core[2], step = key,
    attempt = step.a, token = step.d, fence = step.f, seq = sequence or 0, queued = step.q, claimed = step.c,
  }
end

local function rescued(key, step, at, reason)
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  remember(sequence, '', nil, nil, text(at), cjson.encode({
    kind = 'rescue', step = key, attempt = step.a, reason = reason, worker = p.worker,
  }))
  return sequence
end

-- The first message is given time; each further one for the same attempt twice as much, up to eight times.
local function again(key, step, at)
  step.d = step.d + 1
  step.n = (step.n or 0) + 1
  set_timer(key, at + p.dispatch_timeout * math.min(2 ^ step.n, 8))
end

local function come_due(key, at, member, reference)
  local status = redis.call('HGET', run, 'st')
  local step = status and not is_final(status) and get_step(key)
  local waits = step and step.s == 'waiting'
  if reference then -- a timer that was set for the step beside its own
    redis.call('ZREM', due, member)
    redis.call('HDEL', run, 't:' .. reference)
    if step and step.s == 'active' then
      redis.call('HSETNX', run, 'e:' .. key .. '|timeout', '{}')
    end
    if not waits or step.r then return end
  end
  if not waits and not (step and step.s == 'active') then
    redis.call('ZREM', due, member)
  elseif waits and not step.r then
    step.r = { e = 'timeout', s = 'timeout', at = text(at) }
    set_step(key, step)
    set_timer(key, at + p.dispatch_timeout)
    hand_over('timeout', key, step)
  elseif not waits and step.f and not p.seize then
    set_timer(key, at + p.lease) -- the store was away: its workers get the time to give a sign of life
  elseif not waits and step.f then
    local kind = step.l and tonumber(step.l) <= at and 'overran' or 'lapsed'
    local reason = kind == 'overran' and 'its time limit is over' or 'its worker gave no sign of life'
    local sequence = seize(key, step, p.fence .. #entries, at, p.lease, cjson.encode({
      kind = 'rescue', step = key, attempt = step.a, reason = reason, worker = p.worker,
    }))
    hand_over(kind, key, step, sequence)
  elseif step.b then
    step.b = nil
    set_step(key, step)
    set_timer(key, at + p.dispatch_timeout)
    hand_over('retry', key, step)
  else
    local reason = step.f and 'who applied its event is gone' or 'its message was not claimed'
    step.f = nil
    again(key, step, at)
    set_step(key, step)
    hand_over(reason == 'its message was not claimed' and 'redispatch' or 'reapply', key, step,
      rescued(key, step, at, reason))
  end
end

local at = now()
local head = redis.call('ZRANGE', due, 0, p.limit, 'WITHSCORES')
local following, more = '', '0'
for i = 1, #head, 2 do
  if tonumber(head[i + 1]) > at then
    following = text(head[i + 1] - at)
    break
  end
  if i > 2 * p.limit then
    more = '1'
    break
  end
  local member = head[i]
  local run_id, key, reference = string.match(member, '^([^|]*)|([^|]*)|?(.*)$')
  at_run(run_id)
  if key == '' then
    prune(run_id, member)
  else
    come_due(key, at, member, reference ~= '' and reference or nil)
  end
end
if #entries == 0 then return { '1', following, more, '[]' } end
return { '1', following, more, cjson.encode(entries) }
