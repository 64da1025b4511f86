-- Answers that are kept, so that a repeated call (its reply was lost) gets the first answer again.
-- needs: run

-- The earlier answer to this operation, if it is the last one in its slot. A client repeats a call when a reply was lost.
-- A slot is the key of a step. Slots of the run itself begin with '|', which no key contains.
local function answered(slot, operation)
  local stored = redis.call('HGET', answers, slot)
  if stored and string.sub(stored, 1, #operation + 1) == operation .. '\n' then
    return string.sub(stored, #operation + 2)
  end
  return nil
end

-- Keep an answer. `final`: whether the run has ended; read from the run if nil.
local function answer(slot, operation, facts, final)
  local encoded = cjson.encode(facts)
  redis.call('HSET', answers, slot, operation .. '\n' .. encoded)
  if final == nil then final = is_final(redis.call('HGET', run, 'st')) end
  if final then redis.call('PEXPIRE', answers, ANSWERS_LIFETIME) end
  return encoded
end

-- The same for events and timers from outside, of which a run may get any number. Each answer has a key of its own, which
-- expires, so answers don't pile up in a run of months.
local function replayed(owner, operation)
  return redis.call('GET', prefix .. 'answer:' .. owner .. ':' .. operation) or nil
end

local function replay(owner, operation, encoded, lifetime)
  redis.call('SET', prefix .. 'answer:' .. owner .. ':' .. operation, encoded, 'PX', lifetime or ANSWERS_LIFETIME)
  return encoded
end
