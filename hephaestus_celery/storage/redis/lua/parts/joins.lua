-- Joins: settle edges, and start or skip the steps that they lead to. Mirrors core/execution/joins.py.
-- Shared by complete.lua, create.lua and settle.lua.
-- needs: ending messages sending
local fields = {} -- what is written in the end, names and values
local function set(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end

-- Give a target its config. If several sources give one, the lowest rank wins. Gives the number of bytes it takes.
local function give(key, rank, config)
  local field = 'c:' .. key
  local held = redis.call('HGET', run, field)
  if held and tonumber(string.match(held, '^(%d+)|')) <= rank then return 0 end
  set(field, rank .. '|' .. config)
  return #config
end

-- A step starts, or is skipped, once in a run. If the definition changes during the run, more edges may be settled than
-- the step now has predecessors, so this is checked.
local met = {}
local function look_up(keys, from)
  for first = from, #keys, UNPACKED do -- in slices: unpack() has a limited stack
    local names, last = {}, math.min(first + UNPACKED - 1, #keys)
    for i = first, last do names[#names + 1] = 's:' .. keys[i] end
    for i, value in ipairs(redis.call('HMGET', run, unpack(names))) do met[keys[first + i - 1]] = value ~= false end
  end
end
local function is_met(key)
  if met[key] == nil then met[key] = redis.call('HEXISTS', run, 's:' .. key) == 1 end
  return met[key]
end

-- A fan-out starts many steps that are mostly alike. So one state is encoded for each lane and number of attempts, and
-- the steps of a lane are queued together.
local alike, queues = {}, {}
local function begin(key, attempts, lane, at, origin, round)
  local of_lane = alike[lane or '']
  if not of_lane then
    of_lane = {}
    alike[lane or ''], queues[lane or ''] = of_lane, {}
  end
  local kind = origin and attempts .. ' ' .. origin .. ' ' .. (round or '') or attempts
  if not of_lane[kind] then
    of_lane[kind] = cjson.encode({
      s = 'active', a = 1, m = attempts, d = 1, q = text(at), k = lane, t = sent_at(at), v = origin, ro = round,
      p = is_held() and UNSENT or nil,
    })
  end
  set('s:' .. key, of_lane[kind])
  table.insert(queues[lane or ''], key)
end

-- The target of an edge counts its settled edges in one number: each settled edge adds 1, a taken one FULL besides.
local FULL = 65536 -- part of the stored format: the fields `p:` of runs
local DEAD_EDGE, TAKEN_EDGE = 1, FULL + 1

-- The first counted join that this script skips: its number, how many predecessors it has, how many came, and its key.
local shortfall

-- Settle an edge. `arrival` is what it adds to that number, `joined` the number of edges that lead to the step, and FULL for
-- each that a counted join needs. Gives 'taken' if the step starts now, 'dead' if it is skipped, else nil.
local function arrive(key, arrival, joined)
  local count
  local predecessors, needed = joined % FULL, math.floor(joined / FULL)
  if predecessors > 1 then count = redis.call('HINCRBY', run, 'p:' .. key, arrival)
  elseif arrival > 1 then count = arrival
  else count = arrival + (redis.call('HGET', run, 'p:' .. key) or 0) end -- the step had several predecessors once
  local settled, taken = count % FULL, math.floor(count / FULL)
  if needed == 0 then
    if settled < predecessors then return nil end
  elseif taken < needed and predecessors - settled + taken >= needed then
    return nil
  end
  if is_met(key) then return nil end
  met[key] = true
  if taken >= math.max(needed, 1) then return 'taken' end
  if needed > 0 and not shortfall then shortfall = table.concat({ needed, predecessors, taken, key }, ' ') end
  set('s:' .. key, '{"s":"skipped","a":0}')
  return 'dead'
end

-- Write what has started: each step now waits for a claim.
local function queue(at)
  for lane, keys in pairs(queues) do all_sent(keys, lane ~= '' and lane or nil, at) end
end

-- The run has reached Done; `last` is the number of its last event.
local function reach_done(last, at, entry)
  set('s:done', cjson.encode({ s = 'completed', a = 1, e = 'done', o = last }))
  remember(last - 2, 'completed', text(at), text(at), text(at), entry)
end

-- Send the messages of p.prepared for the steps that have started; `before` is the number of arguments before the first
-- message. Gives true if all were sent, or none may be, since the run is paused; a list if some were, nil if none were.
local function send(activated, before)
  if next(queues) and is_held() then return true end
  if not p.prepared then return nil end
  local posted, meant = {}, 0
  for _, key in ipairs(activated) do
    local prepared_message = p.prepared[key]
    if key ~= 'done' then meant = meant + 1 end
    if prepared_message and post(KEYS[5 + prepared_message[1]], ARGV[before + prepared_message[2]]) then posted[#posted + 1] = key end
  end
  if #posted > 0 then return #posted == meant or posted end
  return nil
end

-- A step with very many edges completes first, and its edges are settled afterwards, in slices. The process that has
-- committed it settles them, or the scheduler if that one is gone. A field of the run and a due entry record this.

local function begin_settling(source, id, about)
  about.id = id
  set('g:' .. source, cjson.encode(about))
  for _, key in ipairs(staged(id)) do redis.call('PERSIST', key) end
  redis.call('ZADD', due, text(steady() + SETTLE_PAUSE), settle_due(source, id))
end
