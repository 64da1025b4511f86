-- The fields of a run's hash: reads and writes the states of steps, its status, and its history.
-- needs: arguments

-- Whether a newer version than the caller's has written the run. The caller can't read its states, and leaves it alone.
local function is_newer(schema)
  return schema and tonumber(schema) > p.schema
end

-- Switch to another run of the same partition, in scripts that handle many.
local function at_run(run_id)
  run, start, history = prefix .. 'run:' .. run_id, prefix .. 'start:' .. run_id, prefix .. 'history:' .. run_id
  answers = prefix .. 'answers:' .. run_id
  p.run_id = run_id
end

-- The key that says that a workflow family is paused, and how.
local function paused_family(family)
  return prefix .. 'paused:' .. family
end

-- When the run began, or ''. Its key is outside the run's hash and may hold anything, so only digits count.
local function as_start(value)
  return type(value) == 'string' and string.find(value, '^%d+$') and value or ''
end

local function read_start()
  return as_start(redis.pcall('GET', start))
end

-- Count data that the run holds until a step applies it. Small data is not worth a command.
local function count_data(bytes)
  if bytes > UNCOUNTED and redis.call('HEXISTS', run, 'sz') == 1 then redis.call('HINCRBY', run, 'sz', bytes) end
end

local function get_step(key)
  local stored = redis.call('HGET', run, 's:' .. key)
  return stored and cjson.decode(stored)
end

local function set_step(key, state)
  redis.call('HSET', run, 's:' .. key, cjson.encode(state))
end

-- Write fields of the run, a flat list of names and values, in one command: each command is written to the AOF too.
local function write(fields)
  for from = 1, #fields, UNPACKED do -- in slices: unpack() has a limited stack
    redis.call('HSET', run, unpack(fields, from, math.min(from + UNPACKED - 1, #fields)))
  end
end

local function is_final(status)
  return status == 'completed' or status == 'failed' or status == 'cancelled'
end

-- Fields of the run by the beginning of their names, as {name, value} in no order. Only these are read, since the rest of
-- the hash (contexts, results) may be large.
local function fields_of(kinds)
  local names, found = {}, {}
  for _, field in ipairs(redis.call('HKEYS', run)) do
    if kinds[string.sub(field, 1, 2)] then names[#names + 1] = field end
  end
  for from = 1, #names, UNPACKED do -- in slices: unpack() has a limited stack
    local to = math.min(from + UNPACKED - 1, #names)
    for i, value in ipairs(redis.call('HMGET', run, unpack(names, from, to))) do
      found[#found + 1] = { names[from + i - 1], value }
    end
  end
  return found
end

-- The key of early events, which came before their steps waited (hash): `<number>|<step, or nothing>|<name>`, and their
-- data. They apply in the order of their numbers. The run's field `en` is the last number; it is absent if none was kept.
local function early_events()
  return prefix .. 'early:' .. p.run_id
end

-- The keys of the events that the run has taken (set). The run has the field `ek` if this set exists.
local function taken_events()
  return prefix .. 'taken:' .. p.run_id
end

-- The step that was given the event of each key, or the number of the early event that has the key (hash). `k` and the key:
-- `s` and the step, or `#` and the number. `n` and that number: the key. Older versions kept none.
local function owners_of_keys()
  return prefix .. 'owners:' .. p.run_id
end

-- The history's entries of later rounds (hash): `<place>|<step>`, and `|<step>` for those that are left out. The run has the field
-- `rg` if this hash exists.
local function later_rounds()
  return prefix .. 'rounds:' .. p.run_id
end

local function set_status(before, after)
  if before == after then return end
  local score = redis.call('HGET', run, 't0')
  redis.call('ZREM', prefix .. 'index:status:' .. before, p.run_id)
  redis.call('ZADD', prefix .. 'index:status:' .. after, score, p.run_id)
  redis.call('HSET', run, 'st', after)
end

-- The status of an active run, from its counters of active and waiting steps.
local function derived()
  local counts = redis.call('HMGET', run, 'act', 'wai')
  if tonumber(counts[1]) > 0 or tonumber(counts[2]) == 0 then return 'running' end
  return 'waiting'
end

-- A line of the history.
local function line_of(sequence, outcome, queued, started, finished, detail)
  return table.concat({ text(sequence), outcome, queued or '', started or '', finished or '', detail }, '|')
end

local function remember(...)
  redis.call('RPUSH', history, line_of(...))
end

-- Since when the attempt or the delivered event could be claimed.
local function queued(step)
  return step.r and step.r.at or step.q
end
