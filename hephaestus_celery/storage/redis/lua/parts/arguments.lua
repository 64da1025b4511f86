-- The keys and arguments of a script, and checks of them before anything is written.
-- Redis keeps the writes before an error, so a script checks its arguments first. Defines the names of the keys,
-- `prefix`, `p`, `demand`, `is_...`, `text`.
--   KEYS[1] run (hash)   KEYS[2] start (string)   KEYS[3] history (list)   KEYS[4] due (sorted set)
--   KEYS[5] answers (hash)   KEYS[6...] lists of the broker, where it is this server
--   ARGV[1] prefix of the partition's keys, for indexes whose names only the script knows
--   ARGV[2] parameters, a JSON object (decoded into p); user data follows as opaque strings and is never decoded
-- Times are microseconds on this server's clock: exact in a double until the year 2255.

local run, start, history, due, answers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix = ARGV[1]
local p = cjson.decode(ARGV[2])
local EXACT = 2 ^ 53 -- whole numbers below it are exact in a double

-- Check the parameters. `kinds` gives the kind of each: 'string', 'name' (a string that may be part of a key or an
-- entry), 'number' (a whole one), 'table' or 'boolean', with '?' if it is optional. `arguments`: their least number.
local function demand(kinds, arguments)
  local function refuse(name)
    error('nothing was done: bad ' .. name, 0)
  end
  for name, value in pairs(p) do
    local kind = type(value)
    if kind == 'userdata' or (kind == 'number' and not (math.abs(value) < EXACT and value % 1 == 0)) then refuse(name) end
  end
  -- A caller gives all parameters of the time, or none of them.
  kinds.stream = 'number?'
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

-- Checks of values inside a parameter.
local function is_text(value) return type(value) == 'string' end
local function is_name(value) return type(value) == 'string' and value ~= '' and not string.find(value, '[%c|]') end
local function is_whole(value) return type(value) == 'number' and value % 1 == 0 and math.abs(value) < EXACT end
local function is_count(value) return type(value) == 'number' and value % 1 == 0 and value > 0 and value < EXACT end
-- The most attempts of a step, as text if it has more digits than a JSON number keeps here.
local function is_often(value) return is_count(value) or (type(value) == 'string' and string.find(value, '^%d+$')) end

-- Whether it is a list whose items all fit; an empty list counts.
local function is_list(values, fits)
  if type(values) ~= 'table' then return false end
  local count = 0
  for key, value in pairs(values) do
    if type(key) ~= 'number' or not fits(value) then return false end
    count = count + 1
  end
  return count == #values
end

-- Whether it is an object whose names are names, and whose values fit.
local function is_object(values, fits)
  if type(values) ~= 'table' then return false end
  for key, value in pairs(values) do
    if not is_name(key) or not fits(value) then return false end
  end
  return true
end

-- Whether it is a list whose first items fit each of `...`, in order.
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

local function text(number)
  return string.format('%.0f', number)
end
