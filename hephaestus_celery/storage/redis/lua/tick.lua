-- The scheduler's tick: do what is due (retries, timers, expired leases), or hand it to the caller.
-- The caller gets entries that need Python. One caller at a time holds the scheduler lock, until it resigns, or until
-- another has seen that its beat does not move. Closes the race of a timer with any other change of its step: the script
-- reads the meaning of an entry from the step's state.
--   p.acknowledged: the operation whose entries the caller has received. Entries of any other operation are handed over
--   again: its reply was lost, or its caller is gone.
--   p.evict: the beat at which the caller has seen the lock expire
--   p.stepped: the caller has confirmed that the clock was set
--   reply: names and values. `verdict` is 'late' (nothing was done), 'other' (another holds the lock, with `beat`) or
--   'held'. Then `beat` and `offset` of the lock, `next_in` microseconds until the next entry or '', `more` ('1' or '0').
--   As JSON: `entries`, `problems` (what could not be read, and why), `reports` (messages of a lane that may be lost)
-- The lock is a hash: `owner`; `schema`, the newest that the owner can read (a caller that reads newer ones takes the
-- lock); `beat`, the owner's last time on the steady clock; `offset` of that clock; `handed`, the operation that handed
-- entries over, with its `entries` and `reports`; `releases`, where something is to go on after a pause.
-- needs: rescue erase deadlines due_items_reading copies release
demand({
  owner = 'string', worker = 'string', op = 'string', acknowledged = 'string?', evict = 'string?', stepped = 'boolean?',
  seize = 'boolean?', fence = 'string', limit = 'number', lease = 'number', dispatch_timeout = 'number', now = 'number',
  slack = 'number', schema = 'number', retention = 'number',
})
local lock = prefix .. 'seat' -- the stored name is older than the word lock
local held = redis.call('HMGET', lock, 'owner', 'beat', 'offset', 'handed', 'schema', 'releases')
local owner, beat, handed = held[1], held[2] or '', held[4] or ''
if owner and owner ~= p.owner and p.evict ~= beat and p.schema <= tonumber(held[5] or '1') then
  return { 'verdict', 'other', 'beat', beat }
end

-- The clock is checked first, since everything else depends on it. If it went back, or the caller knows that it went
-- forward, the offset makes up for that. If it is ahead, the call may only have been slow, so nothing is done.
local offset = tonumber(held[3] or '0')
local at = now()
local ahead = at + offset - p.now
if ahead < -STEP or (p.stepped and ahead > STEP) then
  offset = offset - ahead
elseif ahead > p.slack then
  return { 'verdict', 'late' }
end
steady_now = at + offset
beat = text(steady_now)

local entries, problems, reports = {}, {}, {}

-- How much of p.limit is used up: one for each due item, more for items that take longer.
local spent = 0
local function hand(entry)
  entries[#entries + 1] = entry
  spent = spent + (#(entry.headers or '') + #(entry.header or '')) / HANDED_BYTES
end

-- Entries that were handed over and not received, without those that are handled or void by now.
local function hand_over_again()
  local before = redis.call('HMGET', lock, 'entries', 'reports')
  for _, entry in ipairs(cjson.decode(before[1] or '[]')) do
    at_run(entry.run)
    local status = redis.call('HGET', run, 'st')
    local step = status and not is_final(status) and get_step(entry.step)
    if entry.kind == 'deadline' then
      -- Whether its end was told, only the caller knows that had it: another one may tell it twice.
      if owner == p.owner then hand(entry) end
    elseif step and step.a == entry.attempt and step.d == entry.token and step.f == entry.fence then
      spent = spent + 1
      entry.state = entry.state or cjson.encode(step) -- an older scheduler left it out of those that it had seized
      hand(entry)
    end
  end
  for _, report in ipairs(cjson.decode(before[2] or '[]')) do reports[#reports + 1] = report end
end

local function report_problem(member, reason)
  local message = type(reason) == 'table' and reason.err or tostring(reason)
  problems[#problems + 1] = string.gsub(member .. ': ' .. message, '[^\32-\126]', '?')
end

local attend
do -- a script has at most 200 local names at a time
  -- Enter what waits in a run again: an older version does not, and the server may have evicted an index.
  local function find_waits()
    if redis.call('HLEN', run) > FEW then return end
    local started = redis.call('HGET', run, 't0')
    for _, field in ipairs(fields_of({ ['s:'] = true })) do
      local step = cjson.decode(field[2])
      if step.s == 'waiting' and not step.r then enter_waits(string.sub(field[1], 3), step, started) end
    end
  end

  -- A run whose retention is over, or that is gone. The entry repeats what its keys say (see watch); entries of older
  -- versions are empty.
  local function prune(member, item)
    local core = redis.call('HMGET', run, 'tags', 'st', 'family', 'id', 'schema')
    if is_newer(core[5]) then return redis.call('ZADD', due, text(steady() + LEFT), member) end
    local id, family, tags = core[4], core[3], core[1] and cjson.decode(core[1]) or {}
    if item.id then
      id, family, tags = item.id, item.family, item.tags
      if core[2] and (not is_final(core[2]) or redis.call('PTTL', run) == -1) then
        if not is_final(core[2]) then find_waits() end
        redis.call('ZADD', due, text(steady() + WATCH), member)
        return
      end
    end
    if held_by(p.run_id) then return redis.call('ZADD', due, text(steady() + PUT_OFF), member) end
    if not core[2] and not drop_waits() then return end -- the entry is due, so the rest follows
    redis.call('ZREM', due, member)
    if core[2] and not is_final(core[2]) then error('its run has not ended', 0) end
    if id then leave_indexes(id, family, tags, core[2] and { core[2] } or STATUSES) end
    unlink_run()
  end

  local function hand_over(kind, core, key, step, sequence)
    hand({
      kind = kind, run = p.run_id, name = core[2], version = core[3], step = key,
      attempt = step.a, token = step.d, round = step.ro, fence = step.f, seq = sequence or 0, headers = core[5] or nil,
    })
  end

  -- A timer that was set for a step beside its own. Gives whether the step gets the event now. If the step does not wait
  -- yet, or its event may be dropped (ck), the timer is kept until it does.
  local function fires(key, step, live, member, reference)
    redis.call('ZREM', due, member)
    redis.call('HDEL', run, 't:' .. reference)
    local kept = not step or step.s == 'active' or (step.b and not step.r) or (step.s == 'waiting' and step.r and step.ck)
    if live and kept then
      redis.call('HSET', run, 'e:' .. key .. '||timeout', '')
    end
    return step and step.s == 'waiting' and not step.r and not step.b
  end


  -- Whether the attempt has exceeded its time limit.
  local function is_over(step)
    return step.l and tonumber(step.l) <= steady()
  end

  -- The next round of a step begins: it is active from now on.
  local function begin_round(key, step, status)
    leave_waits(key, step)
    step.s, step.w, step.x = 'active', nil, nil
    redis.call('HINCRBY', run, 'act', 1)
    redis.call('HINCRBY', run, 'wai', -1)
    set_status(status, 'running')
  end

  local function come_due(key, at, member, reference)
    local core = redis.call('HMGET', run, 'st', 'name', 'version', 'schema', 'mh', 'pa', 'family', 'ue')
    if is_newer(core[4]) then return redis.call('ZADD', due, text(steady() + LEFT), member) end
    local live = core[1] and not is_final(core[1])
    local step = live and get_step(key)
    if reference and not fires(key, step, live, member, reference) then return end
    local waits = step and step.s == 'waiting'
    local late = core[8] and step and not step.cp -- nothing of it is sent or applied again
    if (not waits and not (step and step.s == 'active')) or (late and not step.f) then
      redis.call('ZREM', due, member)
      return
    end
    if not (core[2] and tonumber(core[3]) and step.a and step.d) then error('its run is incomplete', 0) end
    know_pause(core[6], core[7])
    if is_held() and awaits_claim(step) then return drop(key, step) end
    if waits and not step.r and not step.b then
      step.r, step.t = { e = 'timeout', s = 'timeout', at = text(at) }, sent_at(at)
      set_step(key, step)
      leave_waits(key, step)
      sent(key, step, at, true)
      if not step.p then hand_over('timeout', core, key, step) end
    elseif step.f and not p.seize then
      set_timer(key, at + p.lease) -- the store was away, so workers get time to renew their leases
    elseif step.f and (not waits or late or is_over(step) or (step.r.n or 0) >= LOSSES) then
      local kind = is_over(step) and TIMED_OUT or LEASE_EXPIRED
      local reason = is_over(step) and REASON_TIMED_OUT or waits and REASON_APPLIER_LOST or REASON_LEASE_EXPIRED
      local sequence = seize(key, step, p.fence .. #entries, at, p.lease, reason)
      hand(rescue(kind, key, step, sequence))
    elseif step.b or step.p then
      if waits and step.b and not step.r then begin_round(key, step, core[1]) end
      step.b, step.p, step.n, step.t = nil, nil, nil, step.k and text(steady()) or nil
      set_step(key, step)
      sent(key, step, at, true)
      if not step.p then hand_over('retry', core, key, step) end
    else
      local kind = step.f and 'reapply' or 'redispatch'
      local reason = step.f and REASON_APPLIER_LOST or REASON_NOT_CLAIMED
      if step.f then step.r.n, step.l = (step.r.n or 0) + 1, nil end
      local sequence = send_again(key, step, at, reason)
      set_step(key, step)
      hand(rescue(kind, key, step, sequence))
    end
  end

  -- Clear away a slice of an ended large run. The entry stays until all is gone, behind the items that are due now.
  local function sweep(member)
    spent = spent + SWEEP_COST
    if not sweep_slice() then redis.call('ZADD', due, text(steady()), member) end
  end

  -- Edges of a step, or first steps of a run, that remain to be settled; the process that began may be gone. The caller
  -- settles them. The entry stays until that is done, and names the staged edges, so they can be deleted with a lost run.
  local function settle_on(member, source, id)
    local core = redis.call('HMGET', run, 'st', 'name', 'version', 'schema', 'mh', 'g:' .. source)
    if is_newer(core[4]) then return redis.call('ZADD', due, text(steady() + LEFT), member) end
    if not core[1] or is_final(core[1]) or not core[6] or cjson.decode(core[6]).id ~= id then
      redis.call('ZREM', due, member)
      redis.call('UNLINK', unpack(staged(id)))
      return
    end
    check_staged(id)
    redis.call('ZADD', due, text(steady() + LEFT), member)
    hand_over('settle', core, source, { a = 1, d = 0 })
  end

  -- Data that remains to be copied for a rerun; the process that began may be gone. The caller copies it. If the rerun itself is
  -- gone, or whole, what is staged and the mark of the earlier run are deleted.
  local function copy_on(member, source, id)
    local core = redis.call('HMGET', run, 'st', 'name', 'version', 'schema', 'mh', 'cp')
    if is_newer(core[4]) then return redis.call('ZADD', due, text(steady() + LEFT), member) end
    if not core[1] or not core[6] or cjson.decode(core[6]).id ~= id then
      redis.call('ZREM', due, member)
      redis.call('UNLINK', staged(id)[1])
      let_go(source, p.run_id)
      return
    end
    redis.call('ZADD', due, text(steady() + LEFT), member)
    hand_over('copy', core, '', { a = 1, d = 0 })
  end

  -- The deadline of a run has come.
  local function run_out(member, at)
    local core = redis.call('HMGET', run, 'st', 'schema', 'dl', 'ue')
    if is_newer(core[2]) then return redis.call('ZADD', due, text(steady() + LEFT), member) end
    local first = spent <= 1
    spent = spent + EXPIRY_COST + math.min(redis.call('HLEN', run), FEW) / EXPIRED_FIELDS
    if spent > p.limit and not first then return end -- the next tick does it
    redis.call('ZREM', due, member)
    if not core[1] or is_final(core[1]) or not core[3] or core[4] then return end
    hand(expire(core[1], core[3], at))
  end

  -- A large run that undoes has more to drop. The caller goes on with that; the entry stays until it is done.
  local function undo_on(member)
    local core = redis.call('HMGET', run, 'st', 'name', 'version', 'schema', 'mh', 'us')
    if is_newer(core[4]) then return redis.call('ZADD', due, text(steady() + LEFT), member) end
    if not core[1] or is_final(core[1]) or not core[6] then return redis.call('ZREM', due, member) end
    redis.call('ZADD', due, text(steady() + LEFT), member)
    hand_over('undo', core, '', { a = 1, d = 0 })
  end

  -- An entry that a newer version may know is left to that version. Any other unknown entry is deleted.
  local function refuse(member, run_id)
    local known, newer = pcall(function() return run_id and is_newer(redis.call('HGET', run, 'schema')) end)
    if known and newer then return redis.call('ZADD', due, text(steady() + LEFT), member) end
    redis.call('ZREM', due, member)
    report_problem(member, 'no entry of ours; dropped')
  end

  local function handle(member, item, at)
    if item.kind == 'prune' then return prune(member, item) end
    if item.kind == 'sweep' then return sweep(member) end
    if item.kind == 'undo' then return undo_on(member) end
    if item.kind == 'settle' then return settle_on(member, item.source, item.id) end
    if item.kind == 'copy' then return copy_on(member, item.source, item.id) end
    if item.kind == 'deadline' then return run_out(member, at) end
    return come_due(item.step, at, member, item.reference)
  end

  -- An entry whose run can't be read is reported and tried again later; the other entries go on.
  function attend(member, at)
    spent = spent + 1
    local run_id, item = read_due(member)
    if run_id then at_run(run_id) end
    if not item then return refuse(member, run_id) end
    local well, reason = pcall(handle, member, item, at)
    if well then return end
    if item.kind ~= 'prune' then redis.call('ZADD', due, text(steady() + PUT_OFF), member) end
    report_problem(member, reason)
  end
end

-- Check a lane. An unclaimed message may be lost if the lane has passed it, or if nobody claims from the lane. A lane has
-- passed the messages before the mark of an earlier check; since then, workers have had time to report what they hold.
-- The caller decides. Messages are checked in slices. If the mark moves, and the oldest message is newer than the mark of
-- the earlier check, none are read.

local look
do -- a script has at most 200 local names at a time
  local function outstanding(member, passed)
    local run_id, item = read_due(member)
    if not item or item.kind ~= 'step' then error('no step of ours', 0) end
    local key = item.step
    at_run(run_id)
    local core = redis.call('HMGET', run, 'st', 'name', 'version', 's:' .. key, 'schema', 'pa', 'family')
    if is_newer(core[5]) then return {}, math.huge end -- it stays in the lane
    local step = core[4] and cjson.decode(core[4])
    if not step or not core[1] or is_final(core[1]) or not awaits_claim(step) then return nil end
    know_pause(core[6], core[7])
    if is_held() then return park(key, step, step.p or QUEUED) end -- nothing looks for it until the run goes on
    return { run = run_id, name = core[2], version = core[3], step = key, attempt = step.a, token = step.d, round = step.ro, passed = passed },
      late_at(step, tonumber(step.t or queued(step)))
  end

  local function look_through(lane, seen, at)
    local key, found, kept = lane_key(lane), {}, 0
    local piece = redis.call('ZRANGE', key, seen.c, seen.c + PIECE - 1, 'WITHSCORES')
    for i = 1, #piece, 2 do
      local member, score = piece[i], tonumber(piece[i + 1])
      if score + p.dispatch_timeout > at then return found, false end
      local well, entry, late = pcall(outstanding, member, seen.o ~= nil and score < tonumber(seen.o))
      if not well then report_problem(member, entry) end
      if well and entry then
        kept = kept + 1
        if late <= at then found[#found + 1] = entry end
      else
        redis.call('ZREM', key, member) -- claimed by a worker of an old version without lanes, or the run is gone
      end
    end
    seen.c = seen.c + kept
    return found, #piece == 2 * PIECE
  end

  function look(lane, at)
    local first = redis.call('ZRANGE', lane_key(lane), 0, 0, 'WITHSCORES')[2]
    if not first then
      redis.call('ZREM', prefix .. 'lanes', lane)
      redis.call('ZREM', prefix .. 'marks', lane)
      redis.call('HDEL', prefix .. 'looks', lane)
      return
    end
    local seen = cjson.decode(redis.call('HGET', prefix .. 'looks', lane) or '{"r":0,"c":0}')
    local mark = redis.call('ZSCORE', prefix .. 'marks', lane)
    local moves = mark and mark ~= seen.l
    seen.l = mark or nil
    -- o: the mark of at least half a dispatch timeout ago; m: the mark at the time t, which becomes o later
    if not seen.t or at - tonumber(seen.t) >= p.dispatch_timeout / 2 then
      seen.o, seen.m, seen.t = seen.m, mark or nil, text(at)
    end
    local half, next_look = p.dispatch_timeout / 2, nil
    local found, more = {}, false
    if tonumber(first) + p.dispatch_timeout > at then
      seen.r, seen.c, next_look = 0, 0, tonumber(first) + p.dispatch_timeout
    elseif moves and not (seen.o and tonumber(first) < tonumber(seen.o)) then
      seen.r, seen.c, next_look = 0, 0, at + half
    else
      found, more = look_through(lane, seen, at)
      if more then
        next_look = at + math.min(half / PIECE_SHARE, PIECE_PAUSE)
      else
        next_look = at + half * 2 ^ seen.r
        seen.r, seen.c = math.min(seen.r + 1, MOST_ROUNDS), 0
      end
    end
    redis.call('HSET', prefix .. 'looks', lane, cjson.encode(seen))
    redis.call('ZADD', prefix .. 'lanes', text(math.floor(next_look)), lane)
    if #found > 0 then reports[#reports + 1] = { lane = lane, moves = moves and true or false, outstanding = found } end
  end
end

if handed ~= '' and handed ~= p.acknowledged then hand_over_again() end

-- What goes on after a pause: a slice at a time, before what is due, since it makes that due.
local function first_release()
  return redis.call('ZRANGE', prefix .. 'releases', 0, 0)[1]
end

local released = (held[6] or owner ~= p.owner) and first_release()
if released then
  spent = spent + RELEASE_COST
  local well, reason = pcall(go_on, released)
  if not well then
    redis.call('ZADD', prefix .. 'releases', text(steady()), released) -- behind the others
    report_problem(released, reason)
  end
end

local head = redis.call('ZRANGE', due, 0, math.max(0, p.limit - math.ceil(spent) - 1), 'WITHSCORES')
local position = 1
while head[position] and tonumber(head[position + 1]) <= steady() and (spent < p.limit or position == 1) do
  -- Read again, since an entry before this one may have changed the same step.
  local score = redis.call('ZSCORE', due, head[position])
  if score and tonumber(score) <= steady() then attend(head[position], at) end
  position = position + 2
end
if position > 1 then head = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES') end
local lanes = redis.call('ZRANGE', prefix .. 'lanes', 0, LOOKS_PER_TICK - 1, 'WITHSCORES')
position = 1
while lanes[position] and tonumber(lanes[position + 1]) <= steady() do
  look(lanes[position], steady())
  position = position + 2
end
if position > 1 then lanes = redis.call('ZRANGE', prefix .. 'lanes', 0, 0, 'WITHSCORES') end
local following, more = '', '0'
local soonest = math.min(head[2] and tonumber(head[2]) or math.huge, lanes[2] and tonumber(lanes[2]) or math.huge)
if soonest < math.huge then
  following = text(math.max(0, soonest - steady()))
  if soonest <= steady() then more = '1' end
end
if released and first_release() then
  following, more = '0', '1'
elseif held[6] then
  redis.call('HDEL', lock, 'releases')
end
local function list(values)
  return #values > 0 and cjson.encode(values) or '[]'
end

entries, reports = list(entries), list(reports)
local kept = { 'owner', p.owner, 'schema', p.schema, 'beat', beat, 'offset', text(offset) }
if entries ~= '[]' or reports ~= '[]' then
  for _, value in ipairs({ 'handed', p.op, 'entries', entries, 'reports', reports }) do kept[#kept + 1] = value end
elseif handed ~= '' then
  for _, value in ipairs({ 'handed', '', 'entries', '[]', 'reports', '[]' }) do kept[#kept + 1] = value end
end
redis.call('HSET', lock, unpack(kept))
return {
  'verdict', 'held', 'beat', beat, 'offset', text(offset), 'next_in', following, 'more', more, 'entries', entries,
  'problems', list(problems), 'reports', reports,
}
