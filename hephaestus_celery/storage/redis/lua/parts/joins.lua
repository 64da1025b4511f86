-- Joins: settle edges, and start or skip the steps that they lead to. Mirrors core/execution/joins.py.
-- Shared by complete.lua, create.lua and settle.lua.
-- needs: ending messages
local fields = {} -- what is written in the end, names and values
local function set(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end

-- A config that a target is given. Where several sources give one, the lowest rank wins. Gives the bytes that it takes.
local function give(key, rank, config)
  local field = 'c:' .. key
  local held = redis.call('HGET', run, field)
  if held and tonumber(string.match(held, '^(%d+)|')) <= rank then return 0 end
  set(field, rank .. '|' .. config)
  return #config
end

-- A step begins, or is skipped, once in a run, whatever its predecessors have become: in a definition that was changed under
-- the run they may be fewer than had come by then.
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

-- Steps that start are many at once where a step fans out, and mostly alike: one state is written for all of a lane and a
-- number of attempts, and those of a lane are queued together.
local alike, queues = {}, {}
local function begin(key, attempts, lane, at)
  local of_lane = alike[lane or '']
  if not of_lane then
    of_lane = {}
    alike[lane or ''], queues[lane or ''] = of_lane, {}
  end
  if not of_lane[attempts] then
    of_lane[attempts] = cjson.encode({ s = 'active', a = 1, m = attempts, d = 1, q = text(at), k = lane, t = sent_at(at) })
  end
  set('s:' .. key, of_lane[attempts])
  table.insert(queues[lane or ''], key)
end

-- An edge into a step is settled. Its target counts them in one number: settled ones below FULL, for each taken one FULL more.
local FULL = 65536 -- what the fields `p:` of stored runs are made of
local DEAD_EDGE, TAKEN_EDGE = 1, FULL + 1

-- `arrival`: what the edge adds to that number; `predecessors`: how many edges lead to the step. Gives 'taken' where the step
-- starts now, 'dead' where it is skipped, else nil.
local function arrive(key, arrival, predecessors)
  local count
  if predecessors > 1 then count = redis.call('HINCRBY', run, 'p:' .. key, arrival)
  elseif arrival > 1 then count = arrival
  else count = arrival + (redis.call('HGET', run, 'p:' .. key) or 0) end -- of several predecessors that it had once
  if count % FULL < predecessors or is_met(key) then return nil end
  met[key] = true
  if count >= FULL then return 'taken' end
  set('s:' .. key, '{"s":"skipped","a":0}')
  return 'dead'
end

-- All that has begun waits for a claim.
local function queue(at)
  for lane, keys in pairs(queues) do all_sent(keys, lane ~= '' and lane or nil, at) end
end

-- The run has come to Done, whose last event has this number.
local function reach_done(last, at, entry)
  set('s:done', cjson.encode({ s = 'completed', a = 1, e = 'done', o = last }))
  remember(last - 2, 'completed', text(at), text(at), text(at), entry)
end

-- Send the messages of p.prepared for what has begun; `before` is the number of the last argument that is no message. True
-- where that is all of it, else a list, nil where it is nothing.
local function send(activated, before)
  local posted, meant = {}, 0
  for _, key in ipairs(activated) do
    local prepared_message = p.prepared[key]
    if key ~= 'done' then meant = meant + 1 end
    if prepared_message and post(KEYS[5 + prepared_message[1]], ARGV[before + prepared_message[2]]) then posted[#posted + 1] = key end
  end
  if #posted > 0 then return #posted == meant or posted end
  return nil
end

-- A step of very many edges completes first, and its edges are settled after it, in slices, by whoever has committed it or,
-- where that one is gone, by the scheduler: so says the run's field, and an entry of the due set until all are settled.

local function begin_settling(source, id, about)
  about.id = id
  set('g:' .. source, cjson.encode(about))
  for _, key in ipairs(staged(id)) do redis.call('PERSIST', key) end
  redis.call('ZADD', due, text(steady() + SETTLE_PAUSE), settle_due(source, id))
end
