-- Commits in a run that undoes what has completed: of a compensation, or of a late step.
-- A late step was executed when the undoing began: it ends, and nothing follows it. Mirrors end_late and advanced in
-- core/execution/undoing.py.
-- needs: commit undoing

-- The reply of a repeated commit; a run that has ended by it comes with its end.
local function again(facts)
  local before = cjson.decode(facts)
  if before.ending then return with_cause(facts) end
  if before.v ~= 'discarded' and before.after and is_final(before.after) then return { facts, read_start(), ending() } end
  return { facts }
end

-- The step has ended: `state` is what becomes of it. `how`: `what` and `outcome` of the commit, how many numbers it has
-- `reserved`, whether it is an `advance`, the `undo` of the step. Gives the reply.
local function end_in_undoing(step, state, status, at, how)
  local late, waits = not step.cp, step.s == 'waiting'
  local was_due, was_claimed, told = queued(step), step.c, p.stream and applied_facts(step)
  local sequence = redis.call('HINCRBY', run, 'seq', how.reserved) - how.reserved + 1
  local counted = step.uw
  if step.r then redis.call('HDEL', run, 'd:' .. p.step) end
  clear_timer(p.step)
  if state.o then state.o = sequence end
  state.uw = nil
  set_step(p.step, state)
  redis.call('HINCRBY', run, waits and 'wai' or 'act', -1)
  if counted then redis.call('HINCRBY', run, 'ur', -1) end
  if how.undo then
    local number = redis.call('HINCRBY', run, 'un', 1)
    redis.call('HSET', run, 'u:' .. text(number), how.undo)
    redis.call('HINCRBY', run, 'ul', 1)
  end
  if how.advance then redis.call('HINCRBY', run, 'adv', 1) end
  remember(sequence, how.outcome, was_due, was_claimed, text(at), ARGV[3])
  local after, t1, states, key = go_on_undoing(status, at)
  local ended = is_final(after)
  local reply = { v = late and 'late' or nil, seq = sequence, after = after }
  if ended then reply.ending = redis.call('HINCRBY', run, 'seq', 1) end
  local core = redis.call('HMGET', run, 'act', 'adv', 'fs', 'sf')
  reply.active, reply.adv = tonumber(core[1]), tonumber(core[2])
  if status ~= 'running' then reply.before = status end
  if after == 'failed' and not core[3] then reply.short = core[4] or nil end
  if told then
    told.undoes, told.late = '1', late and '1' or nil
    if ended then
      ended_as(told, after)
      local cause = redis.call('HMGET', run, 'f', 'cr')
      told.failure, told.failed, told.shortfall = cause[1] or nil, core[3] or nil, core[4] or nil
      told.reason = cause[2] and cjson.decode(cause[2]) or nil
    end
    tell(how.what, sequence, how.reserved + (ended and 1 or 0), at, ARGV[3], told)
  end
  local facts = answer(p.step, p.op, with_next(reply, key), ended)
  return ended and with_cause(facts, t1, states) or { facts }
end

-- A late step fails, whatever attempts it has left.
local function fail_late(step, status, at, what)
  local failed = {}
  for name, value in pairs(step) do failed[name] = value end
  failed.s, failed.f = 'failed', nil
  return end_in_undoing(step, failed, status, at, { what = what, outcome = 'failed', reserved = 1 })
end
