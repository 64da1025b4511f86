-- Copies: a run from which another is being copied (by a retry or fork) bears a mark, and is kept until that is done.
-- needs: run time

-- The marks of a run: the runs that are copied from it, by when each mark ends. It ends by itself only if nothing has been
-- copied for days.
local function marks_of(run_id)
  return prefix .. 'copies:' .. run_id
end

local function hold(source, copy)
  local marks = marks_of(source)
  redis.call('ZADD', marks, text(now() + HELD), copy)
  redis.call('PEXPIRE', marks, text(HELD / MILLISECOND))
  for _, kind in ipairs({ 'run:', 'early:', 'taken:', 'owners:' }) do
    local left = redis.call('PTTL', prefix .. kind .. source)
    if left >= 0 and left < HELD / MILLISECOND then
      redis.call('PEXPIRE', prefix .. kind .. source, text(HELD / MILLISECOND))
    end
  end
end

local function let_go(source, copy)
  redis.call('ZREM', marks_of(source), copy)
end

-- A run that is being copied from this one, or nil.
local function held_by(source)
  return redis.call('ZREVRANGEBYSCORE', marks_of(source), '+inf', text(now()), 'LIMIT', 0, 1)[1]
end
