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

-- What becomes of a step by this number of its settled edges: 'taken' if it starts, 'dead' if it is skipped, else nil.
-- `joined` is the number of edges that lead to the step, and FULL for each that a counted join needs.
local function fate(count, joined)
  local predecessors, needed = joined % FULL, math.floor(joined / FULL)
  local settled, taken = count % FULL, math.floor(count / FULL)
  if needed == 0 then
    if settled < predecessors then return nil end
  elseif taken < needed and predecessors - settled + taken >= needed then
    return nil
  end
  return taken >= math.max(needed, 1) and 'taken' or 'dead'
end

-- Settle an edge; `arrival` is what it adds to that number. Gives the fate of the step if this decides it.
local function arrive(key, arrival, joined)
  local count
  local predecessors, needed = joined % FULL, math.floor(joined / FULL)
  if predecessors > 1 then count = redis.call('HINCRBY', run, 'p:' .. key, arrival)
  elseif arrival > 1 then count = arrival
  else count = arrival + (redis.call('HGET', run, 'p:' .. key) or 0) end -- the step had several predecessors once
  local what = fate(count, joined)
  if not what or is_met(key) then return nil end
  met[key] = true
  if what == 'taken' then return what end
  if needed > 0 and not shortfall then
    shortfall = table.concat({ needed, predecessors, math.floor(count / FULL), key }, ' ')
  end
  set('s:' .. key, '{"s":"skipped","a":0}')
  return what
end

-- Whether Done starts if these edges are settled; nothing is written. `rows` as in complete.lua.
local function would_reach_done(edges, rows)
  local counts, over, first = {}, {}, 1
  while edges[first] do
    local key, row = edges[first][1], rows[edges[first][1]] or { 1 }
    counts[key] = (counts[key] or redis.call('HGET', run, 'p:' .. key) or 0) + edges[first][2]
    first = first + 1
    local what = not over[key] and not is_met(key) and fate(counts[key], row[1])
    if what then over[key] = true end
    if what == 'taken' and key == 'done' then return true end
    for i = 2, what == 'dead' and #row or 0 do edges[#edges + 1] = { row[i], DEAD_EDGE } end
  end
  return false
end

-- Write what has started: each step now waits for a claim.
local function queue(at)
  for lane, keys in pairs(queues) do all_sent(keys, lane ~= '' and lane or nil, at) end
end

-- The run has reached Done; `last` is the number of its last event. `refused`: its result could not be computed, and this
-- is the failure.
local function reach_done(last, at, entry, refused)
  set('s:done', cjson.encode(refused and { s = 'failed', a = 1 } or { s = 'completed', a = 1, e = 'done', o = last }))
  if refused then
    set('fs', 'done')
    set('f', refused)
  end
  remember(last - (refused and 1 or 2), refused and 'failed' or 'completed', text(at), text(at), text(at), entry)
end

-- Send the messages of p.prepared for the steps that have started; `before` is the number of arguments before the first
-- message, and `starts` whether Done has one. Gives true if all were sent, or none may be, since the run is paused; a list if
-- some were, nil if none were.
local function send(activated, before, starts)
  if next(queues) and is_held() then return true end
  if not p.prepared then return nil end
  local posted, meant = {}, 0
  for _, key in ipairs(activated) do
    local sends = key ~= 'done' or starts
    local prepared_message = sends and p.prepared[key]
    if sends then meant = meant + 1 end
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
