-- Pauses: whether the run is paused, and its steps that are held until it goes on. Mirrors core/execution/pausing.py.
-- The key `paused:<family>` exists while a workflow family is paused. The sorted set `parked:<run>` has the held steps of a
-- run, by the time since when they want a worker. A run that has some has the field `pk`, and is in `index:parked:<family>` if
-- its workflow alone holds it.
-- needs: lanes

local UNSENT, QUEUED = 1, 2 -- part of the stored format: the field `p` of a step's state

-- What is known of the present run: whether it is paused, by itself, and the family of its workflow.
local known_run, run_is_held, own_pause, family_of_run

-- A script may look at many runs of a workflow.
local paused_families = {}
local function is_paused_family(family)
  if paused_families[family] == nil then
    paused_families[family] = redis.call('EXISTS', paused_family(family)) == 1
  end
  return paused_families[family]
end

-- The caller has read the run's own pause (its field `pa`), its family, and whether that is paused if it knows it.
local function know_pause(own, family, paused)
  if paused ~= nil then paused_families[family] = paused end
  known_run, own_pause, family_of_run = run, own, family
  run_is_held = own or (family and is_paused_family(family)) or false
end

-- The same for a commit, which asks for the run's own pause alone: a workflow that is paused costs it no command.
local function know_own_pause(own)
  known_run, own_pause, family_of_run = run, own, nil
  run_is_held = own
end

local function is_held()
  if known_run ~= run then
    local core = redis.call('HMGET', run, 'pa', 'family')
    know_pause(core[1], core[2])
  end
  return run_is_held
end

local function parked()
  return prefix .. 'parked:' .. p.run_id
end

local function parked_runs(family)
  return prefix .. 'index:parked:' .. family
end

-- Note held steps: times and keys, alternately.
local function note_parked(entries)
  if #entries == 0 then return end
  if redis.call('EXISTS', parked()) == 0 then
    redis.call('HSET', run, 'pk', 1)
    if not own_pause then redis.call('ZADD', parked_runs(family_of_run), 'NX', text(now()), p.run_id) end
  end
  for from = 1, #entries, UNPACKED do -- in slices: unpack() has a limited stack
    redis.call('ZADD', parked(), unpack(entries, from, math.min(from + UNPACKED - 1, #entries)))
  end
end

-- The end of a run: nothing is held any more.
local function leave_parked(family)
  redis.call('UNLINK', parked())
  redis.call('ZREM', parked_runs(family), p.run_id)
  redis.call('ZREM', prefix .. 'releases', p.run_id)
  redis.call('HDEL', run, 'pk')
end

-- Take the run's own pause away: older code may have it again.
local function clear_pause(pause)
  redis.call('HDEL', run, 'pa')
  redis.call('HSET', run, 'schema', string.match(pause, '^%d+|(%d+)|'))
end

-- Hold a step of a paused run: nothing comes due for it, and its message no longer waits in a lane.
local function park(key, step, kind)
  step.p = kind
  set_step(key, step)
  leave_lane(key, step)
  clear_timer(key)
  note_parked({ queued(step), key })
end

-- A worker has brought the message of a held step, or nobody will: another is sent when the run goes on.
local function drop(key, step)
  if step.p ~= UNSENT then step.d = step.d + 1 end
  park(key, step, UNSENT)
end
