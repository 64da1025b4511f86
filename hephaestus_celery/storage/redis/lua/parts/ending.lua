-- The end of a run, and what a reply says of it.
-- needs: answers pause staged_edges run_reply waits

-- Delete what a run that ends keeps of a step beside its state: timers, its place in a lane, counts, and data of events
-- that nobody will apply. Gives the state if the field is that of a step.
local function clear_away(field, value)
  local kind, name = string.sub(field, 1, 2), string.sub(field, 3)
  local step = kind == 's:' and cjson.decode(value) or nil
  if step and (step.s == 'active' or step.s == 'waiting') then
    clear_timer(name)
    if step.s == 'waiting' and not step.r then leave_waits(name, step) end
    if awaits_claim(step) then leave_lane(name, step) end
  end
  if kind == 't:' then redis.call('ZREM', due, timer_due(value, name)) end
  if kind == 'g:' then
    local id = cjson.decode(value).id
    redis.call('ZREM', due, settle_due(name, id))
    redis.call('UNLINK', unpack(staged(id)))
  end
  if kind == 'p:' or kind == 'e:' or kind == 'd:' or kind == 't:' or kind == 'g:' then redis.call('HDEL', run, field) end
  return step
end

-- The end of an ended run: its time, and the completed steps in the order of their completion. A run of many steps only
-- says that they are many. `at` and `states` (by key of step) come from finish().
local function ending(at, states)
  local t1 = at or redis.call('HGET', run, 't1')
  if not states then
    if redis.call('HLEN', run) > FEW then return cjson.encode({ t1 = t1, many = true }) end
    states = {}
    for _, field in ipairs(fields_of({ ['s:'] = true })) do states[string.sub(field[1], 3)] = cjson.decode(field[2]) end
  end
  local completed = {}
  for key, step in pairs(states) do
    if step.s == 'completed' and not step.cp then completed[#completed + 1] = key end
  end
  table.sort(completed, function(a, b) return states[a].o < states[b].o end)
  return cjson.encode({ t1 = t1, completed = completed })
end

-- Let a key expire after the end of a run. The scheduler prunes it earlier; this is for when no scheduler runs.
local function expire(key)
  redis.call('PEXPIRE', key, text(math.ceil(p.retention / MILLISECOND) + PRUNE_MARGIN))
end

-- End a run: free its id, delete its timers, begin its retention, and wake the clients that wait. In a run of many steps,
-- the scheduler clears the rest away in slices; until then it has no effect, since the run has ended. Gives the
-- arguments of ending().
local function finish(before, status, at)
  set_status(before, status)
  redis.call('HSET', run, 't1', text(at), 'act', 0, 'wai', 0)
  local about = redis.call('HMGET', run, 'id', 'family', 'tags', 'en', 'ek', 'pk', 'pa', 'rg', 'dl')
  local active = prefix .. 'active:' .. about[1]
  redis.call('HDEL', active, p.run_id)
  local states
  if redis.call('HLEN', run) <= FEW then
    states = {}
    for _, field in ipairs(fields_of({ ['s:'] = true, ['t:'] = true, ['p:'] = true, ['e:'] = true, ['d:'] = true, ['g:'] = true })) do
      local step = clear_away(field[1], field[2])
      if step then states[string.sub(field[1], 3)] = step end
    end
  else
    set_soon(sweep_due(), at, at)
  end
  local lasting = { run, start, history }
  if about[4] and status == 'completed' then
    redis.call('DEL', early_events())
  elseif about[4] then
    lasting[#lasting + 1] = early_events() -- a retry delivers them
  end
  if about[5] then
    lasting[#lasting + 1] = taken_events()
    lasting[#lasting + 1] = owners_of_keys()
  end
  if about[8] then lasting[#lasting + 1] = later_rounds() end
  if about[6] then leave_parked(about[2]) end
  if about[7] then clear_pause(about[7]) end
  if about[9] then redis.call('ZREM', due, deadline_due()) end
  redis.call('PEXPIRE', answers, ANSWERS_LIFETIME)
  watch(about[1], about[2], about[3] and cjson.decode(about[3]) or {}, p.retention > 0 and p.retention or WATCH)
  if p.retention > 0 then
    if redis.call('EXISTS', active) == 0 then lasting[#lasting + 1] = prefix .. 'index:id:' .. about[1] end
    for _, key in ipairs(lasting) do expire(key) end
  end
  redis.call('PUBLISH', prefix .. 'finished:' .. p.run_id, status)
  return states and text(at), states
end
