-- Shared by every script; put in front of each. Scripts are called with the keys of one run and of its partition:
--   KEYS[1] run (hash)   KEYS[2] start (string)   KEYS[3] history (list)   KEYS[4] due (sorted set)
--   KEYS[5] answers (hash)   KEYS[6...] lists of the broker, where that is this server
--   ARGV[1] prefix of the partition's keys: indexes are named by values that only the script knows
--   ARGV[2] parameters, a JSON object (decoded into p); user data follows as opaque strings and is never decoded
-- Times are microseconds on this server's clock: exact in a double until the year 2255.
local run, start, history, due, answers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ANSWERS_LIFETIME = 60000 -- milliseconds after the end: much longer than any client goes on repeating a call
local PRUNE_MARGIN = 60000 -- milliseconds
local prefix = ARGV[1]
local p = cjson.decode(ARGV[2])

-- What a script is given is checked before it writes anything: an error in the middle would leave half of it done.
-- `kinds` says what each parameter is: 'string', 'name' (a string that can stand in the name of a key or an entry),
-- 'number' (a whole one), 'table' or 'boolean', with '?' where it may be left out. `arguments`: how many there are at least.
local function demand(kinds, arguments)
  local function refuse(name)
    error('nothing was done: bad ' .. name, 0)
  end
  for name, value in pairs(p) do
    local kind = type(value)
    if kind == 'userdata' or (kind == 'number' and not (math.abs(value) < 2 ^ 53 and value % 1 == 0)) then refuse(name) end
  end
  -- What every script is told of the time, or none of it.
  kinds.now, kinds.offset, kinds.punctual, kinds.slack = 'number?', 'number?', 'boolean?', p.now and 'number' or 'number?'
  for name, kind in pairs(kinds) do
    local value, wanted = p[name], string.match(kind, '^%l+')
    if value ~= nil or wanted == kind then
      if type(value) ~= (wanted == 'name' and 'string' or wanted) then refuse(name) end
      if wanted == 'name' and (value == '' or string.find(value, '[%c|]')) then refuse(name) end
    end
  end
  for i = 3, arguments or 2 do
    if not ARGV[i] then refuse('argument ' .. i) end
  end
end

-- The same for what stands inside of a parameter: each of these says whether a value is such.
local function is_text(value) return type(value) == 'string' end
local function is_name(value) return type(value) == 'string' and value ~= '' and not string.find(value, '[%c|]') end
local function is_whole(value) return type(value) == 'number' and value % 1 == 0 and math.abs(value) < 2 ^ 53 end
local function is_count(value) return type(value) == 'number' and value % 1 == 0 and value > 0 and value < 2 ^ 53 end
-- How often a step may be attempted: as text where it has more digits than a number of JSON keeps here.
local function is_often(value) return is_count(value) or (type(value) == 'string' and string.find(value, '^%d+$')) end

-- Whether it is a list of what `fits`, and nothing else; of nothing at all it is one, too.
local function is_list(values, fits)
  if type(values) ~= 'table' then return false end
  local count = 0
  for key, value in pairs(values) do
    if type(key) ~= 'number' or not fits(value) then return false end
    count = count + 1
  end
  return count == #values
end

-- Whether it is an object whose names are names, and whose values are what `fits`.
local function is_object(values, fits)
  if type(values) ~= 'table' then return false end
  for key, value in pairs(values) do
    if not is_name(key) or not fits(value) then return false end
  end
  return true
end

-- Whether it is a list that begins with what each of `...` fits.
local function is_row(values, ...)
  if not is_list(values, function() return true end) then return false end
  for i, fits in ipairs({ ... }) do
    if not fits(values[i]) then return false end
  end
  return true
end

local function inside(name, well)
  if not well then error('nothing was done: bad ' .. name, 0) end
end

-- The messages of steps: for each the number of its list among KEYS[6...], and its own among the arguments behind `before`.
local function demand_prepared(before)
  inside('prepared', p.prepared == nil or is_object(p.prepared, function(prepared_message)
    return is_row(prepared_message, is_count, is_count) and KEYS[5 + prepared_message[1]] and ARGV[before + prepared_message[2]]
  end))
end

-- Messages that have been sent: {run id, step, attempt, token, lane}.
local function demand_messages(is_lane)
  inside('messages', is_list(p.messages, function(message)
    return is_row(message, is_name, is_name, is_whole, is_whole, is_lane) and #message == 5
  end))
end

-- Now as users are told it: it may step. Asked for once a script.
local wall
local function now()
  if not wall then
    local time = redis.call('TIME')
    wall = time[1] * 1000000 + time[2]
  end
  return wall
end

-- Now on the clock that everything in the due set goes by: this server's, and an offset that takes back whatever its
-- steps did (see tick.lua). A caller brings what that clock says by its own reckoning (p.now, never ahead) and the offset
-- that it knows (p.offset): where the two part, this clock has been set, and nobody has taken it back yet; or the call
-- was under way for long. Either way no timer may be set by more than p.slack beside it.
local STEP = 500000 -- microseconds that clocks may differ
local steady_now
local function steady()
  if not steady_now then
    steady_now = now() + (p.offset or 0)
    if p.now and steady_now < p.now - STEP then steady_now = p.now end
    if p.now and steady_now > p.now + p.slack then steady_now = p.now + p.slack end
  end
  return steady_now
end

-- Who asked has given up by now, and may have done something else since: what comes too late is not done. (Nor what comes
-- too early: then the clock has been set, and the caller is to look at it first.)
if p.punctual then
  local ahead = now() + (p.offset or 0) - p.now
  if ahead > p.slack or ahead < -STEP then return 'late' end
end

-- Whether a run was written by a newer version than the caller's: whose states it can't read, and leaves alone.
local function is_newer(schema)
  return schema and tonumber(schema) > p.schema
end

-- Go over to another run of the same partition, in scripts that see many.
local function at_run(run_id)
  run, start, history = prefix .. 'run:' .. run_id, prefix .. 'start:' .. run_id, prefix .. 'history:' .. run_id
  answers = prefix .. 'answers:' .. run_id
  p.run_id = run_id
end

local function text(number)
  return string.format('%.0f', number)
end

-- Put a prepared message on a broker's list; says whether it is there. Comes last in a script: whatever that key holds,
-- all else is done.
local function post(list, message)
  local pushed = redis.pcall('LPUSH', list, message)
  return type(pushed) == 'number'
end

-- When the run began. Its key stands outside the run's hash and may hold anything, of any type: only digits are told.
local function read_start()
  local value = redis.pcall('GET', start)
  if type(value) == 'string' and string.find(value, '^%d+$') then return value end
  return ''
end

-- A flat list as one string: a reply of many small ones costs its reader far more. On its first line the run that it is
-- of, and how long each value is; so nothing that a value holds can be taken for the end of one.
local function packed(values)
  local lengths = {}
  for i, value in ipairs(values) do
    values[i] = tostring(value)
    lengths[i] = #values[i]
  end
  return (p.run_id or '') .. ' ' .. table.concat(lengths, ',') .. '\n' .. table.concat(values)
end

-- What one reply carries of a run, so that no script takes long: data of SMALL bytes, the fields of FEW steps. `sz` counts
-- the bytes of data (where it is missing, they are many), `il` says that the initial context alone is more than that.
local SMALL, FEW = 65536, 400

-- The run's fields as one reply may carry them, as a flat list: all of a small run; of another, where it stands, the states
-- of `steps` (of all where they are few), and their results as long as these are small together. `lk` says what is left out.
-- `initial`: the initial context comes in any case.
local function carried(size, large, steps, initial)
  local few = redis.call('HLEN', run) <= FEW
  local small = size and tonumber(size) <= SMALL
  if few and small and (initial or not large) then return redis.call('HGETALL', run) end
  local names = { 'h', 'schema', 'st', 't0', 't1', 'act', 'app', 'seq', 'fs', 'f', 'cr', 'mh' }
  if initial or not large then names[#names + 1] = 'i' end
  if few then
    for _, field in ipairs(redis.call('HKEYS', run)) do
      local kind = string.sub(field, 1, 2)
      if kind == 's:' or (small and (kind == 'r:' or kind == 'm:' or kind == 'c:')) then names[#names + 1] = field end
    end
  end
  local total = 0
  for i, key in ipairs(steps) do
    if not few then names[#names + 1] = 's:' .. key end
    if not (few and small) then
      local length = redis.call('HSTRLEN', run, 'r:' .. key)
      if length > 0 and total + length <= SMALL then
        total = total + length
        names[#names + 1] = 'r:' .. key
      end
      if i == 1 then names[#names + 1] = 'c:' .. key end
    end
  end
  local fields = { 'lk', few and (small and '' or 'd') or 'sd' }
  for from = 1, #names, 1000 do -- in slices: unpack() has a limited stack
    local to = math.min(from + 999, #names)
    local values = redis.call('HMGET', run, unpack(names, from, to))
    for i = from, to do
      local value = values[i - from + 1]
      if value then
        fields[#fields + 1] = names[i]
        fields[#fields + 1] = value
      end
    end
  end
  return fields
end

-- Data that stands in the run until a step applies it; what is small is not worth a command.
local function count_data(bytes)
  if bytes > 1024 and redis.call('HEXISTS', run, 'sz') == 1 then redis.call('HINCRBY', run, 'sz', bytes) end
end

local function get_step(key)
  local stored = redis.call('HGET', run, 's:' .. key)
  return stored and cjson.decode(stored)
end

local function set_step(key, state)
  redis.call('HSET', run, 's:' .. key, cjson.encode(state))
end

-- Fields of the run, as a flat list of names and values. One command for all of them: each is written to the AOF too.
local function write(fields)
  for from = 1, #fields, 1000 do -- in slices: unpack() has a limited stack
    redis.call('HSET', run, unpack(fields, from, math.min(from + 999, #fields)))
  end
end

local function is_final(status)
  return status == 'completed' or status == 'failed' or status == 'cancelled'
end

-- Fields of the run by the beginning of their names, as {name, value} in no order. By name: the rest of the hash (contexts,
-- results) may be large.
local function fields_of(kinds)
  local names, found = {}, {}
  for _, field in ipairs(redis.call('HKEYS', run)) do
    if kinds[string.sub(field, 1, 2)] then names[#names + 1] = field end
  end
  for from = 1, #names, 1000 do -- in slices: unpack() has a limited stack
    local to = math.min(from + 999, #names)
    for i, value in ipairs(redis.call('HMGET', run, unpack(names, from, to))) do
      found[#found + 1] = { names[from + i - 1], value }
    end
  end
  return found
end

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
local function replayed(operation)
  return redis.call('GET', prefix .. 'answer:' .. p.run_id .. ':' .. operation) or nil
end

local function replay(operation, encoded, lifetime)
  redis.call('SET', prefix .. 'answer:' .. p.run_id .. ':' .. operation, encoded, 'PX', lifetime or ANSWERS_LIFETIME)
  return encoded
end

-- Events that came before their steps waited (hash): `<number>|<step, or nothing>|<name>`, and what came with them. In the
-- order of their numbers; `en` of the run is the last number, absent where none was ever kept.
local function early_events()
  return prefix .. 'early:' .. p.run_id
end

-- The keys of the events that the run has taken (set); `ek` of the run is there where this is.
local function taken_events()
  return prefix .. 'taken:' .. p.run_id
end

local function set_status(before, after)
  if before == after then return end
  local score = redis.call('HGET', run, 't0')
  redis.call('ZREM', prefix .. 'index:status:' .. before, p.run_id)
  redis.call('ZADD', prefix .. 'index:status:' .. after, score, p.run_id)
  redis.call('HSET', run, 'st', after)
end

-- The status of a run that goes on, from its counters of active and waiting steps.
local function derived()
  local counts = redis.call('HMGET', run, 'act', 'wai')
  if tonumber(counts[1]) > 0 or tonumber(counts[2]) == 0 then return 'running' end
  return 'waiting'
end

local function remember(sequence, outcome, queued, started, finished, detail)
  redis.call('RPUSH', history, table.concat(
    { text(sequence), outcome, queued or '', started or '', finished or '', detail }, '|'))
end

-- Since when the attempt or the delivered event has been there to be claimed.
local function queued(step)
  return step.r and step.r.at or step.q
end

-- The step's one entry in the due set, for a time on the clock of now(); what it means when it comes due follows from the
-- step's state.
local function set_timer(key, at)
  redis.call('ZADD', due, text(at - now() + steady()), p.run_id .. '|' .. key)
end

-- A timer that may come due before the scheduler would look again by itself: it is woken.
local function set_soon(key, at, since)
  set_timer(key, at)
  if at - since < 3000000 then redis.call('PUBLISH', prefix .. 'wake', '1') end
end

-- When the next sign of life of a worker is due: at the end of its lease, or of the step's time limit if that is sooner
-- (step.l, which goes by steady()).
local function lease_end(at, lease, step)
  local limit = step.l and tonumber(step.l) - steady() + at
  if limit and limit < at + lease then return limit end
  return at + lease
end

-- Take a claimed step from its worker, and tell so. Gives the number of that event.
local function seize(key, step, fence, at, lease, entry)
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  remember(sequence, '', nil, nil, text(at), entry)
  step.f, step.z, step.h = fence, sequence, nil
  set_step(key, step)
  set_timer(key, at + lease)
  return sequence
end

local function clear_timer(key)
  redis.call('ZREM', due, p.run_id .. '|' .. key)
end

-- Lanes (core/execution/lanes.py): what waits in a queue, by when it was sent. `lanes` says when each is looked at, `marks` up to where
-- it was claimed, `looks` what the last look has seen. A step whose lane is not known has a timer instead.
local function lane_key(lane)
  return prefix .. 'lane:' .. lane
end

-- When a message was sent, as lanes have it: by the steady clock. None where that says the same as the other.
local function sent_at(at)
  local moment = at - now() + steady()
  return moment ~= at and text(moment) or nil
end

-- A message for a step is on its way: since step.t, where that is set. `timed`: the step may have an entry in the due set, which means nothing any more.
local function sent(key, step, at, timed)
  if not step.k then return set_timer(key, at + p.dispatch_timeout) end
  if timed then clear_timer(key) end
  local since = step.t and tonumber(step.t) or at
  redis.call('ZADD', lane_key(step.k), text(since), p.run_id .. '|' .. key)
  redis.call('ZADD', prefix .. 'lanes', 'NX', text(since + p.dispatch_timeout), step.k)
end

-- The same for many steps that have just started.
local function all_sent(keys, lane, at)
  local since = at - now() + steady()
  local set, score = due, text(since + p.dispatch_timeout)
  if lane then set, score = lane_key(lane), text(since) end
  for from = 1, #keys, 500 do -- in slices: unpack() has a limited stack
    local entries = {}
    for i = from, math.min(from + 499, #keys) do
      entries[#entries + 1] = score
      entries[#entries + 1] = p.run_id .. '|' .. keys[i]
    end
    redis.call('ZADD', set, unpack(entries))
  end
  if lane then redis.call('ZADD', prefix .. 'lanes', 'NX', text(since + p.dispatch_timeout), lane) end
end

local function leave_lane(key, step)
  if step.k then redis.call('ZREM', lane_key(step.k), p.run_id .. '|' .. key) end
end

-- Whether a message of the step is on its way, which nobody has claimed.
local function awaits_claim(step)
  return not step.f and not step.b and (step.s == 'active' or (step.s == 'waiting' and step.r))
end

-- When the last message of a step counts as late: each further one for the same attempt is given twice as much time, up to
-- eight times, give or take a quarter: at even intervals a broker may give it to the same worker each time, which may not
-- know the workflow.
local function late_at(step, at)
  local factor = 1
  if step.n then factor = math.min(2 ^ step.n, 8) * (0.75 + (at % 1009) / 1009 / 2) end
  return at + math.floor(p.dispatch_timeout * factor)
end

-- The last message of a step, or who was applying its event, is lost: another is sent. Gives the number of that event.
local function send_again(key, step, at, reason)
  step.f, step.d, step.n = nil, step.d + 1, (step.n or 0) + 1
  if step.k then
    step.t = text(at - now() + steady())
    sent(key, step, at, true)
  else
    set_timer(key, late_at(step, at))
  end
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  remember(sequence, '', nil, nil, text(at), cjson.encode({
    kind = 'rescue', step = key, attempt = step.a, reason = reason, worker = p.worker,
  }))
  return sequence
end

-- What its teller is to know of a rescue that cost no attempt; the rest of the run may be large. Where the caller's telemetry is
-- so much that a hundred of them would be too large, the header is left out, and the teller reads the run.
local MOST_OF_HEADER = 4096
local function rescue(kind, key, step, sequence)
  local core = redis.call('HMGET', run, 'name', 'version', 'st', 't0', 'mh')
  local brief = redis.call('HSTRLEN', run, 'h') <= MOST_OF_HEADER
  return {
    kind = kind, run = p.run_id, name = core[1], version = core[2], step = key, attempt = step.a, token = step.d,
    seq = sequence, header = brief and redis.call('HGET', run, 'h') or nil, status = core[3], started = core[4],
    start = read_start(), state = cjson.encode(step), headers = core[5] or nil,
  }
end

-- A worker commits with the fence that its claim was given. Anything else is late or foreign and changes nothing; a
-- commit after the run's end is kept in the history as discarded, and its event gets a number.
local function refused(status, step, at)
  if not step or step.f ~= p.fence then return { v = 'stale' } end
  if not is_final(status) then return nil end
  local reserved = step.r and 0 or 1
  local sequence = redis.call('HINCRBY', run, 'seq', reserved) - reserved + 1
  step.f = nil
  set_step(p.step, step)
  remember(sequence, 'discarded', queued(step), step.c, text(at), ARGV[3])
  local left = redis.call('PTTL', run)
  if left > 0 then redis.call('PEXPIRE', history, left) end -- it may just have been made anew, after an eviction
  return { v = 'discarded', seq = sequence, before = status, after = status }
end

-- What is kept of a step beside its state goes with the run's end: its timers, its place in a lane, counts and data of events
-- that nobody will apply.
local SWEEP = '\1sweep' -- no key of a step: names an entry of the due set for what a large run's end has left to be cleared away
local SETTLE = '\1settle' -- the same for edges that are still to be settled, see settling.lua

-- The edges of a step of very many, to be settled in slices (list of '1' for a taken one or '0' for a dead one, and the key of
-- its target), and of each target how many predecessors it has, how often it may be attempted, its lane or '', and the keys of its successors
-- (hash; and the configs of '|' and a key).
local function staged(id)
  return { prefix .. 'edges:' .. p.run_id .. ':' .. id, prefix .. 'rows:' .. p.run_id .. ':' .. id }
end

-- Nothing is done where what was laid by is gone.
local function check_staged(id)
  if redis.call('EXISTS', unpack(staged(id))) < 2 then error('nothing was done: what follows the step is gone (evicted?)', 0) end
end

local function clear_away(field, value)
  local kind, name = string.sub(field, 1, 2), string.sub(field, 3)
  if kind == 's:' and not string.find(value, '"s":"[cs]') then
    local step = cjson.decode(value)
    if step.s == 'active' or step.s == 'waiting' then
      clear_timer(name)
      if awaits_claim(step) then leave_lane(name, step) end
    end
  end
  if kind == 't:' then clear_timer(value .. '|' .. name) end
  if kind == 'g:' then
    local id = cjson.decode(value).id
    clear_timer(SETTLE .. '|' .. name .. '|' .. id)
    redis.call('UNLINK', unpack(staged(id)))
  end
  if kind == 'p:' or kind == 'e:' or kind == 'd:' or kind == 't:' or kind == 'g:' then redis.call('HDEL', run, field) end
end

-- What an ended run says of its end: when it was, and which steps had completed, in the order of their completion; of a run of
-- many steps only that they are many. `at` and `fields`: what finish() knows of that.
local function ending(at, fields)
  local t1 = at or redis.call('HGET', run, 't1')
  if not fields then
    if redis.call('HLEN', run) > FEW then return cjson.encode({ t1 = t1, many = true }) end
    fields = fields_of({ ['s:'] = true })
  end
  local completed, order = {}, {}
  for _, field in ipairs(fields) do
    if string.find(field[2], '"s":"completed"', 1, true) then
      local key = string.sub(field[1], 3)
      completed[#completed + 1] = key
      order[key] = cjson.decode(field[2]).o
    end
  end
  table.sort(completed, function(a, b) return order[a] < order[b] end)
  return cjson.encode({ t1 = t1, completed = completed })
end

-- The entry of a run itself in the due set, from its beginning on: when it is due, the run is pruned if its retention is
-- over, or if it is gone, expired or evicted by then; else it is looked at again later. So it says all that pruning needs.
local WATCH = 86400000000 -- microseconds
local function watch(id, family, tags, delay)
  local entry = { id, family }
  for _, tag in ipairs(tags) do entry[#entry + 1] = tag end
  redis.call('ZADD', due, text(steady() + delay), p.run_id .. '||' .. cjson.encode(entry))
end

-- How long a key is kept after the end of a run. The scheduler prunes it in time; where no scheduler runs, it still goes.
local function expire(key)
  redis.call('PEXPIRE', key, text(math.ceil(p.retention / 1000) + PRUNE_MARGIN))
end

-- The end of a run: its id is free, its timers are gone, its retention begins, those who wait are told. What belongs to many
-- steps is cleared away in slices, by whoever has the scheduler lock: until then it means nothing, since the run has ended.
-- Gives what ending() asks for.
local function finish(before, status, at)
  set_status(before, status)
  redis.call('HSET', run, 't1', text(at), 'act', 0, 'wai', 0)
  local about = redis.call('HMGET', run, 'id', 'family', 'tags', 'en', 'ek')
  local active = prefix .. 'active:' .. about[1]
  redis.call('HDEL', active, p.run_id)
  local fields
  if redis.call('HLEN', run) <= FEW then
    fields = {}
    for _, field in ipairs(fields_of({ ['s:'] = true, ['t:'] = true, ['p:'] = true, ['e:'] = true, ['d:'] = true, ['g:'] = true })) do
      clear_away(field[1], field[2])
      if string.sub(field[1], 1, 2) == 's:' then fields[#fields + 1] = field end
    end
  else
    set_soon(SWEEP, at, at)
  end
  local lasting = { run, start, history }
  if about[4] then redis.call('DEL', early_events()) end
  if about[5] then lasting[#lasting + 1] = taken_events() end
  redis.call('PEXPIRE', answers, ANSWERS_LIFETIME)
  watch(about[1], about[2], about[3] and cjson.decode(about[3]) or {}, p.retention > 0 and p.retention or WATCH)
  if p.retention > 0 then
    if redis.call('EXISTS', active) == 0 then lasting[#lasting + 1] = prefix .. 'index:id:' .. about[1] end
    for _, key in ipairs(lasting) do expire(key) end
  end
  redis.call('PUBLISH', prefix .. 'finished:' .. p.run_id, status)
  return fields and text(at), fields
end
