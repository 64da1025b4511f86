-- The keys and arguments of a script, and checks of them before anything is written.
-- An error in the middle would leave half of a script done, so all that is given is checked first. Gives the names of the
-- keys, `prefix`, `p`, `demand`, `is_...`, `text`.
--   KEYS[1] run (hash)   KEYS[2] start (string)   KEYS[3] history (list)   KEYS[4] due (sorted set)
--   KEYS[5] answers (hash)   KEYS[6...] lists of the broker, where that is this server
--   ARGV[1] prefix of the partition's keys: indexes are named by values that only the script knows
--   ARGV[2] parameters, a JSON object (decoded into p); user data follows as opaque strings and is never decoded
-- Times are microseconds on this server's clock: exact in a double until the year 2255.

local run, start, history, due, answers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix = ARGV[1]
local p = cjson.decode(ARGV[2])
local EXACT = 2 ^ 53 -- whole numbers below it are exact in a double

-- What a script is given is checked before it writes anything: an error in the middle would leave half of it done.
-- `kinds` says what each parameter is: 'string', 'name' (a string that can stand in the name of a key or an entry),
-- 'number' (a whole one), 'table' or 'boolean', with '?' where it may be left out. `arguments`: how many there are at least.
local function demand(kinds, arguments)
  local function refuse(name)
    error('nothing was done: bad ' .. name, 0)
  end
  for name, value in pairs(p) do
    local kind = type(value)
    if kind == 'userdata' or (kind == 'number' and not (math.abs(value) < EXACT and value % 1 == 0)) then refuse(name) end
  end
  -- What every script is given of the time, or none of it.
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
local function is_whole(value) return type(value) == 'number' and value % 1 == 0 and math.abs(value) < EXACT end
local function is_count(value) return type(value) == 'number' and value % 1 == 0 and value > 0 and value < EXACT end
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

local function text(number)
  return string.format('%.0f', number)
end
