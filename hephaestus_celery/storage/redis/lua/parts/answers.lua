-- Answers that are kept, so that a repeated call (its reply was lost) gets the first answer again.
-- needs: run

-- The answer given to this operation before, if it is the slot's last one: a client asks again when a reply was lost.
-- Slots are the keys of steps; those that begin with '|', which no key contains, are of the run.
local function answered(slot, operation)
  local stored = redis.call('HGET', answers, slot)
  if stored and string.sub(stored, 1, #operation + 1) == operation .. '\n' then
    return string.sub(stored, #operation + 2)
  end
  return nil
end

-- Keep an answer. `final`: whether the run has ended; asked for where it is not given.
local function answer(slot, operation, facts, final)
  local encoded = cjson.encode(facts)
  redis.call('HSET', answers, slot, operation .. '\n' .. encoded)
  if final == nil then final = is_final(redis.call('HGET', run, 'st')) end
  if final then redis.call('PEXPIRE', answers, ANSWERS_LIFETIME) end
  return encoded
end

-- The same for calls of which a run may see any number, events and timers from outside: each keeps its answer by itself,
-- and for a time only, so that none piles up in a run that goes on for months.
local function replayed(owner, operation)
  return redis.call('GET', prefix .. 'answer:' .. owner .. ':' .. operation) or nil
end

local function replay(owner, operation, encoded, lifetime)
  redis.call('SET', prefix .. 'answer:' .. owner .. ':' .. operation, encoded, 'PX', lifetime or ANSWERS_LIFETIME)
  return encoded
end
