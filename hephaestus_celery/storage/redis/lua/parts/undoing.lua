-- Undoing: a run that does not complete undoes what has completed, the last step first. Mirrors core/execution/undoing.py.
-- The run's field `un` is how many completed steps have a compensation; it exists if the workflow has any. `u:<number>` says
-- of each how it is undone. Once the run undoes, `ue` is how it is to end, `ul` how many of these have not begun, `ur` how many
-- steps are still being executed. `us` exists while a large run is gone through for what is to be dropped, in slices.
-- needs: ending sending

-- A step that is dropped before it has ended. Mirrors `dropped`.
local function as_dropped(step)
  step.s, step.f, step.w, step.x, step.r, step.b, step.p, step.uw = 'skipped', nil, nil, nil, nil, nil, nil, nil
  return step
end

-- Drop these steps of the run, names and states, unless a worker holds them. Edges that are still to be settled go too.
local function drop_unclaimed(fields)
  local active, waiting, running = 0, 0, 0
  for _, field in ipairs(fields) do
    local kind, name = string.sub(field[1], 1, 2), string.sub(field[1], 3)
    local step = kind == 's:' and cjson.decode(field[2])
    if kind == 'g:' then
      clear_away(field[1], field[2])
      active = active + 1
    elseif step and step.f and not step.uw then
      step.uw = 1
      set_step(name, step)
      running = running + 1
    elseif step and not step.f and (step.s == 'active' or step.s == 'waiting') then
      clear_timer(name)
      leave_lane(name, step)
      if step.s == 'waiting' then
        waiting = waiting + 1
        if step.r then redis.call('HDEL', run, 'd:' .. name) else leave_waits(name, step) end
      else
        active = active + 1
      end
      set_step(name, as_dropped(step))
    end
  end
  if active > 0 then redis.call('HINCRBY', run, 'act', -active) end
  if waiting > 0 then redis.call('HINCRBY', run, 'wai', -waiting) end
  if running > 0 then redis.call('HINCRBY', run, 'ur', running) end
end

-- The next compensation starts if nothing is executed any more; after the last one the run ends. Gives the status of the run;
-- of a run that has ended what finish() gives, else the message that is to be sent, if any.
local function go_on_undoing(status, at)
  local core = redis.call('HMGET', run, 'us', 'ur', 'ul', 'ue')
  local left = tonumber(core[3])
  if core[1] or tonumber(core[2] or 0) > 0 then return status end
  if left == 0 then return core[4], finish(status, core[4], at) end
  local entry = cjson.decode(redis.call('HGET', run, 'u:' .. text(left)))
  local key = entry[2]
  local step = { s = 'active', a = 1, m = entry[3], d = 1, q = text(at), k = entry[4], t = sent_at(at), cp = entry[1] }
  redis.call('HSET', run, 'ul', text(left - 1))
  redis.call('HINCRBY', run, 'act', 1)
  set_step(key, step)
  sent(key, step, at)
  return status, nil, nil, not step.p and key or nil
end

-- The run is not to complete: it ends at once, or undoes what has completed, if its workflow has compensations (`count`, its
-- field `un`). Gives the same as go_on_undoing.
local function stop(status, ending_as, count, at)
  if not count then return ending_as, finish(status, ending_as, at) end
  redis.call('HSET', run, 'ul', count, 'ue', ending_as)
  if redis.call('HLEN', run) <= DROPPED_AT_ONCE then
    drop_unclaimed(fields_of({ ['s:'] = true, ['g:'] = true }))
  else
    redis.call('HSET', run, 'us', '0')
    set_soon(undo_due(), at, at)
  end
  local after = status == 'pending' and 'pending' or 'running'
  set_status(status, after)
  return go_on_undoing(after, at)
end

-- The reply about a run that has ended when it had undone what had completed: with why it did not complete.
local function with_cause(facts, t1, states)
  local cause = redis.call('HMGET', run, 'f', 'fs', 'cr')
  return { facts, read_start(), ending(t1, states), cause[1] or '', cause[2] or '', cause[3] or '' }
end

-- The facts of a reply about the message that is to be sent.
local function with_next(facts, key)
  facts.undo = key
  return facts
end
