-- Deadlines: a run that has not ended in time fails. Mirrors core/execution/deadlines.py.
-- needs: undoing stream

-- Fail the run, whatever its steps do or wait for. Gives the entry with all that the caller needs to emit it; a long header is
-- left out, since a tick hands over many of these.
local function expire(status, deadline, at)
  local message = string.format(DEADLINE_MESSAGE, string.format('%.15g', deadline / SECOND))
  local entry = cjson.encode({ kind = 'timer', reason = string.format(DEADLINE_ACCOUNT, message) })
  local core = redis.call('HMGET', run, 'name', 'version', 't0', 'adv', 'un')
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  redis.call('HSET', run, 'f', string.format(DEADLINE_FAILURE, message))
  remember(sequence, 'completed', nil, core[3], text(at), entry)
  local after, _, states, key = stop(status, 'failed', core[5], at)
  local undoes = not is_final(after)
  tell('deadline', sequence, 1, at, entry, p.stream and { start = read_start(), begins = undoes and '1' or nil })
  local completed = states and 0 or nil
  for _, step in pairs(states or {}) do
    if step.s == 'completed' then completed = completed + 1 end
  end
  local brief = redis.call('HSTRLEN', run, 'h') <= HANDED_HEADER
  return {
    kind = 'deadline', run = p.run_id, name = core[1], version = core[2], step = '', attempt = 1, token = 0, seq = sequence,
    header = brief and redis.call('HGET', run, 'h') or nil, started = core[3], start = read_start(), at = text(at),
    deadline = deadline, adv = tonumber(core[4]), completed = not undoes and completed or nil, undoes = undoes or nil, undo = key,
  }
end
