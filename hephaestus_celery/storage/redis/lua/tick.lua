-- What has come due in this partition is done, or handed to the caller where it takes Python. One caller at a time: the
-- holder of the scheduler key, which runs out by itself when the holder is gone. Closes the race of a timer with
-- whatever else happens to its step: what an entry means is read from the step's state in the same moment.
--   reply: {held ('1' or '0'), microseconds until the next entry or '', more ('1' or '0'), entries, troubles}
local seat = prefix .. 'scheduler'
local holder = redis.call('GET', seat)
if holder and holder ~= p.owner then return { '0', '', '0', '[]', '[]' } end
redis.call('SET', seat, p.owner, 'PX', p.ttl)

local PUT_OFF = 60000000 -- microseconds until an entry whose run can't be read is looked at again
local entries, troubles = {}, {}

local function trouble(member, reason)
  local told = type(reason) == 'table' and reason.err or tostring(reason)
  troubles[#troubles + 1] = string.gsub(member .. ': ' .. told, '[^\32-\126]', '?')
end

local function prune(run_id, member)
  local core = redis.call('HMGET', run, 'tags', 'st', 'family', 'id')
  redis.call('ZREM', due, member)
  if core[2] and not is_final(core[2]) then error('its run has not ended', 0) end
  if core[2] then
    for _, index in ipairs({ 'status:' .. core[2], 'family:' .. core[3], 'id:' .. core[4] }) do
      redis.call('ZREM', prefix .. 'index:' .. index, run_id)
    end
    for _, tag in ipairs(core[1] and cjson.decode(core[1]) or {}) do
      redis.call('ZREM', prefix .. 'index:tag:' .. tag, run_id)
    end
  end
  redis.call('DEL', run, start, history, answers, early_events(), taken_events())
end

local function hand_over(kind, core, key, step, sequence)
  entries[#entries + 1] = {
    kind = kind, run = p.run_id, name = core[2], version = core[3], step = key,
    attempt = step.a, token = step.d, fence = step.f, seq = sequence or 0,
  }
end

local function rescued(key, step, at, reason)
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  remember(sequence, '', nil, nil, text(at), cjson.encode({
    kind = 'rescue', step = key, attempt = step.a, reason = reason, worker = p.worker,
  }))
  return sequence
end

-- The first message is given time; each further one for the same attempt twice as much, up to eight times, give or take
-- a quarter: at even intervals a broker may give it to the same worker each time, which may not know the workflow.
local function again(key, step, at)
  step.d = step.d + 1
  step.n = (step.n or 0) + 1
  local jitter = 0.75 + (at % 1009) / 1009 / 2
  set_timer(key, at + math.floor(p.dispatch_timeout * math.min(2 ^ step.n, 8) * jitter))
end

-- A timer that was set for a step beside its own; whether the step is to be given the event now. One for a step that
-- does not wait yet is kept until it does.
local function fires(key, step, live, member, reference)
  redis.call('ZREM', due, member)
  redis.call('HDEL', run, 't:' .. reference)
  if live and (not step or step.s == 'active') then
    redis.call('HSET', run, 'e:' .. key .. '||timeout', '')
  end
  return step and step.s == 'waiting' and not step.r
end

local function come_due(key, at, member, reference)
  local core = redis.call('HMGET', run, 'st', 'name', 'version')
  local live = core[1] and not is_final(core[1])
  local step = live and get_step(key)
  if reference and not fires(key, step, live, member, reference) then return end
  local waits = step and step.s == 'waiting'
  if not waits and not (step and step.s == 'active') then
    redis.call('ZREM', due, member)
    return
  end
  if not (core[2] and tonumber(core[3]) and step.a and step.d) then error('its run is incomplete', 0) end
  if waits and not step.r then
    step.r = { e = 'timeout', s = 'timeout', at = text(at) }
    set_step(key, step)
    set_timer(key, at + p.dispatch_timeout)
    hand_over('timeout', core, key, step)
  elseif not waits and step.f and not p.seize then
    set_timer(key, at + p.lease) -- the store was away: its workers get the time to give a sign of life
  elseif not waits and step.f then
    local kind = step.l and tonumber(step.l) <= at and 'overran' or 'lapsed'
    local reason = kind == 'overran' and 'its time limit is over' or 'its worker gave no sign of life'
    local sequence = seize(key, step, p.fence .. #entries, at, p.lease, cjson.encode({
      kind = 'rescue', step = key, attempt = step.a, reason = reason, worker = p.worker,
    }))
    hand_over(kind, core, key, step, sequence)
  elseif step.b then
    step.b = nil
    set_step(key, step)
    set_timer(key, at + p.dispatch_timeout)
    hand_over('retry', core, key, step)
  else
    local kind = step.f and 'reapply' or 'redispatch'
    local reason = step.f and 'who applied its event is gone' or 'its message was not claimed'
    step.f = nil
    again(key, step, at)
    set_step(key, step)
    hand_over(kind, core, key, step, rescued(key, step, at, reason))
  end
end

-- An entry that can't be read stops no other: it is told, and looked at again later, or dropped if it names no run.
local function attend(member, at)
  local run_id, key, reference = string.match(member, '^([^|]+)|([^|]*)|?(.*)$')
  if not run_id then
    redis.call('ZREM', due, member)
    return trouble(member, 'no entry of ours; dropped')
  end
  at_run(run_id)
  local well, reason
  if key == '' then
    well, reason = pcall(prune, run_id, member)
  else
    well, reason = pcall(come_due, key, at, member, reference ~= '' and reference or nil)
  end
  if well then return end
  if key ~= '' then redis.call('ZADD', due, text(at + PUT_OFF), member) end
  trouble(member, reason)
end

local at = now()
local head = redis.call('ZRANGE', due, 0, p.limit - 1, 'WITHSCORES')
local position = 1
while head[position] and tonumber(head[position + 1]) <= at do
  -- Asked again: an entry before it may have been about the same step, and have moved it.
  local score = redis.call('ZSCORE', due, head[position])
  if score and tonumber(score) <= at then attend(head[position], at) end
  position = position + 2
end
if position > 1 then head = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES') end
local following, more = '', '0'
if head[1] then
  following = text(math.max(0, head[2] - at))
  if tonumber(head[2]) <= at then more = '1' end
end
return {
  '1', following, more,
  #entries > 0 and cjson.encode(entries) or '[]', #troubles > 0 and cjson.encode(troubles) or '[]',
}
