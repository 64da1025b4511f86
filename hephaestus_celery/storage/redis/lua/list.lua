-- List a page of runs, newest first, that match all filters.
-- Stops after p.limit matches, or after p.budget entries of the indexes; see parts/matching.lua.
--   reply: {names and values, rows...}. `position` is where the next page begins, or '' after the last. `more` is '1'
--   where more runs are known to match, else '0'. A row is {run id, start, fields}: the run's fields without data,
--   packed, with the states of its steps where these are few and short. Rows have no names, since a page has many
-- needs: matching run_reply
local FIELDS = { 'st', 'name', 'family', 'version', 'id', 't0', 't1', 'fs', 'tags', 'schema', 'ra', 'pa', 'dl', 'ue' }
local function add_states(fields)
  if redis.call('HLEN', run) > LISTED_FIELDS then return end
  local names, length = {}, 0
  for _, field in ipairs(redis.call('HKEYS', run)) do
    local kind = string.sub(field, 1, 2)
    if kind == 's:' then names[#names + 1] = field end
    if kind == 'g:' or field == 'cp' then return end -- its first steps are still to be settled, or copied
  end
  if #names == 0 then return end
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
  at_run(candidate.run)
  local fields, core = {}, redis.call('HMGET', run, unpack(FIELDS))
  for i, name in ipairs(FIELDS) do
    if core[i] then
      fields[#fields + 1] = name
      fields[#fields + 1] = core[i]
    end
  end
  add_states(fields)
  add_workflow_pause(fields, core[1], core[3])
  return { candidate.run, read_start(), packed(fields) }
end

local found, position, further = find_matching()
local reply = { { 'position', position, 'more', further and '1' or '0' } }
for _, candidate in ipairs(found) do reply[#reply + 1] = row(candidate) end
return reply
