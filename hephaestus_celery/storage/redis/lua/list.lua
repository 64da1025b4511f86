-- List a page of runs, newest first, that match all filters.
-- Reads the indexes in p.indexes together (one, or one for each wanted status), and checks the other filters on each run.
-- Stops after p.limit matches, or after p.budget runs. Closes no race: a run may change between two pages.
--   reply: {names and values, rows...}. `position` is where the next page begins, or '' after the last. `more` is '1'
--   where more runs are known to match, else '0'. A row is {run id, start, fields}: the run's fields without data,
--   packed, with the states of its steps where these are few and short. Rows have no names, since a page has many
-- needs: run_reply
local FIELDS = { 'st', 'name', 'family', 'version', 'id', 't0', 't1', 'fs', 'tags', 'schema' }
local found, looks = {}, 0
local top, below = p.max, p.below -- continue below this score, or at this score below this run id

local function later(a, b)
  return a[1] > b[1] or (a[1] == b[1] and a[2] > b[2])
end

local function next_candidates(count)
  local merged = {}
  for _, index in ipairs(p.indexes) do
    local offset, taken = 0, 0
    while taken < count do
      local page = redis.call('ZREVRANGEBYSCORE', index, top, p.min, 'WITHSCORES', 'LIMIT', offset, count)
      for i = 1, #page, 2 do
        if not (below ~= '' and tonumber(page[i + 1]) == tonumber(top) and page[i] >= below) then
          merged[#merged + 1] = { tonumber(page[i + 1]), page[i], index }
          taken = taken + 1
        end
      end
      if #page < 2 * count then break end
      offset = offset + count
    end
  end
  table.sort(merged, later)
  return merged
end

local function matches(candidate)
  local key = prefix .. 'run:' .. candidate[2]
  local core = redis.call('HMGET', key, unpack(FIELDS))
  if not core[1] then
    redis.call('ZREM', candidate[3], candidate[2]) -- its retention is over
    return false
  end
  if p.statuses[core[1]] == nil then return false end
  if p.name and p.name ~= core[2] then return false end
  if p.family and p.family ~= core[3] then return false end
  if p.version and p.version ~= core[4] then return false end
  if p.id and p.id ~= core[5] then return false end
  if p.tag and not redis.call('ZSCORE', prefix .. 'index:tag:' .. p.tag, candidate[2]) then return false end
  candidate.core = core
  return true
end

local function add_states(fields)
  if redis.call('HLEN', run) > LISTED_FIELDS then return end
  local names, length = {}, 0
  for _, field in ipairs(redis.call('HKEYS', run)) do
    if string.sub(field, 1, 2) == 's:' then names[#names + 1] = field end
  end
  local states = redis.call('HMGET', run, unpack(names))
  for i, name in ipairs(names) do length = length + #name + #states[i] end
  if length > LISTED_BYTES then return end
  fields[#fields + 1], fields[#fields + 2] = 'all', '1'
  for i, name in ipairs(names) do
    fields[#fields + 1] = name
    fields[#fields + 1] = states[i]
  end
end

local function row(candidate)
  at_run(candidate[2])
  local fields = {}
  for i, name in ipairs(FIELDS) do
    if candidate.core[i] then
      fields[#fields + 1] = name
      fields[#fields + 1] = candidate.core[i]
    end
  end
  add_states(fields)
  return { candidate[2], read_start(), packed(fields) }
end

local more = true
while more and #found < p.limit + 1 and looks < p.budget do
  local candidates = next_candidates(LIST_CHUNK)
  more = #candidates >= LIST_CHUNK
  for i = 1, math.min(LIST_CHUNK, #candidates) do
    looks = looks + 1
    local candidate = candidates[i]
    if matches(candidate) then
      found[#found + 1] = candidate
      if #found > p.limit then break end
    end
    top, below = text(candidate[1]), candidate[2]
  end
end

local position, matching = '', '0'
if #found > p.limit then
  table.remove(found)
  position, matching = #found > 0 and text(found[#found][1]) .. ':' .. found[#found][2] or top .. ':' .. below, '1'
elseif more then
  position = top .. ':' .. below
end
local reply = { { 'position', position, 'more', matching } }
for _, candidate in ipairs(found) do reply[#reply + 1] = row(candidate) end
return reply
