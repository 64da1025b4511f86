-- Claim an attempt of a step for a worker, or an event that was delivered to a waiting step.
-- Closes the race of two copies of one message: the second finds the claim taken. The first claim of a run sets its
-- status to running.
--   ARGV[3...] keys of the steps whose results come with the claim of a run that is not small
--   reply: {reason, detail} of a refusal; else, packed, the run's fields (see carried), its start, and the event's data
--   or ''.
--   The step's state has the event numbers of the claim, and all else that the worker emits.
-- needs: pause run_reply stream
demand({
  run_id = 'name', step = 'name', attempt = 'number', fence = 'string', versions = 'table', workflow = 'string',
  schema = 'number', limit = 'number?', holder = 'string?', worker = 'string?', lease = 'number', lane = 'string?',
  token = 'number?', round = 'number?', dispatch_timeout = 'number',
})
inside('versions', is_list(p.versions, is_text))

-- Whether the message is of the round that the step is in: one of an earlier round says nothing about this one.
local function is_of_round(step)
  return (p.round or 1) == (step.ro or 1)
end

-- Whether the step still awaits this message, or another of the attempt.
local function awaited(step, status)
  return step and not is_final(status) and step.a == p.attempt and is_of_round(step) and awaits_claim(step)
end

-- A worker that can't execute the step got its message. Another is sent soon, and the delay doubles with each
-- one of an attempt. It is never later than the message would be sent again anyway.
local function turn_away(step, status)
  if not awaited(step, status) or step.p then return end
  local at = now()
  local soon = at + TURNED_AWAY * 2 ^ math.min(step.n or 0, MOST_DOUBLINGS)
  local expected = redis.call('ZSCORE', due, step_due(p.step))
  if not expected and step.k then expected = late_at(step, tonumber(step.t or queued(step))) end
  if not expected or soon - at + steady() < tonumber(expected) then set_soon(step_due(p.step), soon, at) end
end

local core = redis.call('HMGET', run, 'st', 'version', 'name', 'seq', 's:' .. p.step, 'sz', 'il', 'schema', 'pa', 'family', 'ue')
local status = core[1]
if not status then return { 'unknown_run', '' } end

if core[3] ~= p.workflow then return { 'foreign', core[3] } end -- a message of ours always names the run's workflow

local known = false
for _, version in ipairs(p.versions) do
  if version == core[2] then known = true end
end
if is_newer(core[8]) then
  pcall(function() turn_away(cjson.decode(core[5]), status) end) -- a newer state may be unreadable
  return { 'newer_schema', core[8] }
end
local step = core[5] and cjson.decode(core[5])
-- Both at once: a pause costs claims no command of its own. A key of another type gives nil here.
local own, family, undoing = unpack(core, 9)
local read = redis.call('MGET', start, paused_family(family or ''))
know_pause(own, family, read[2] ~= false)
if is_held() and awaited(step, status) then
  -- The message is dropped, unless a later one is still under way.
  if step.p ~= UNSENT and (not p.token or p.token == step.d) then drop(p.step, step) end
  return { 'paused', '' }
end
if not known then
  turn_away(step, status)
  return { 'unknown_version', core[3] .. ' version ' .. core[2] }
end

-- The caller repeats the call when the reply was lost. The step's state has the answer while the claim holds.
local again = step and step.f == p.fence
local resumed = step and step.s == 'waiting' and step.r
if not again then
  if not step or is_final(status) or step.a ~= p.attempt then return { 'stale', '' } end
  if not is_of_round(step) then return { 'stale', '' } end
  if step.b or (step.s ~= 'active' and not resumed) then return { 'stale', '' } end
  if undoing and not step.cp and not step.f then return { 'stale', '' } end -- a large run has still to drop it
  if step.f then return { 'taken', '' } end

  local at = now()
  local first = status == 'pending'
  local reserved = (first and 2 or 0) + ((resumed or p.step == 'done') and 0 or 1)
  if first then set_status('pending', 'running') end
  step.f, step.c, step.h, step.u, step.l = p.fence, text(at), p.holder, p.worker, nil
  -- The lane's mark moves to when this message was sent. An older copy of the message moves it only to when the attempt
  -- was queued, since it proves nothing about later messages.
  leave_lane(p.step, step)
  step.k, step.p = p.lane or step.k, nil
  local mark = (not p.token or p.token == step.d) and step.t or text(tonumber(queued(step)) - at + steady())
  if step.k then redis.call('ZADD', prefix .. 'marks', 'GT', mark, step.k) end
  step.i, step.j = first or nil, core[4] + 1
  if p.limit then step.l = text(steady() + p.limit + (resumed and APPLY_MARGIN or 0)) end
  write({ 'seq', core[4] + reserved, 's:' .. p.step, cjson.encode(step), unpack(first and { 'adv', 1 } or {}) })
  if step.l then set_soon(step_due(p.step), lease_end(at, p.lease, step), at)
  else set_timer(p.step, at + p.lease) end
  if p.stream then
    local facts = { first = first and '1' or nil }
    if reserved > (first and 2 or 0) then
      facts.step, facts.attempt, facts.queued = p.step, text(step.a), queued(step)
      facts.round, facts.compensates = step.ro and text(step.ro), step.cp
    end
    tell('claim', core[4] + 1, reserved, at, '', facts)
  end
end

local steps = { p.step }
for i = 3, #ARGV do steps[#steps + 1] = ARGV[i] end
local fields = carried(core[6], core[7], steps, step.i)
fields[#fields + 1] = as_start(read[1])
fields[#fields + 1] = resumed and redis.call('HGET', run, 'd:' .. p.step) or ''
return packed(fields)
