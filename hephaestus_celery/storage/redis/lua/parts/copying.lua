-- Copying: the rows that say what a rerun takes of its earlier run, and where its steps stand.
-- Shared by rerun.lua and copy.lua. The first character of a row is its kind:
--   k<step>|<state>    a step that stays completed: its result, metadata and config are copied
--   c<step>            the config of a step that has not completed
--   a<step>            what the round of a step was given that has not completed
--   =<field>|<value>   a field of the new run
--   e<number>          the early events with higher numbers; in the end the row is gone
--   t<cursor>          the keys of events, from this cursor on; in the end the row is gone. It comes after all `k`
--   ![step, attempts, lane or '', origin or '', round]   (the round from 2 on)   a step that is active. These rows are the last ones, so nothing is sent
--   before all data is there.
-- needs: joins copies

-- Values of the earlier run, '' for each that is missing. If that run is in another partition, the caller has read them
-- (`given`, in the order of the rows).
local given, given_at = nil, 0
local function values_of(...)
  local names = { ... }
  local found = given and {} or redis.call('HMGET', prefix .. 'run:' .. p.source, unpack(names))
  for i in ipairs(names) do
    if given then found[i] = given[given_at + i] end
    found[i] = found[i] or ''
  end
  given_at = given_at + #names
  return found
end

local copied_bytes = 0
local function copy_value(name, value)
  if value == '' then return end
  copied_bytes = copied_bytes + #value
  set(name, value)
end

-- A page of the event keys of the earlier run, as {key, owner or ''}, and the cursor of the next.
local function page_of_keys(cursor)
  if given then
    given_at = given_at + 1
    local page = cjson.decode(given[given_at])
    return page.keys, page.cursor
  end
  -- A user may lack the right to SSCAN, which older guides do not name. Then keys whose owner is known go along.
  local found, owners = {}, prefix .. 'owners:' .. p.source
  local page = redis.pcall('SSCAN', prefix .. 'taken:' .. p.source, cursor, 'COUNT', KEYS_AT_ONCE)
  if page.err then
    page = redis.call('HSCAN', owners, cursor, 'COUNT', KEYS_AT_ONCE)
    for i = 1, #page[2], 2 do
      local key = string.match(page[2][i], '^k(.*)$')
      if key then found[#found + 1] = { key, page[2][i + 1] } end
    end
    return found, page[1]
  end
  for i, key in ipairs(page[2]) do found[i] = { key, redis.call('HGET', owners, 'k' .. key) or '' } end
  return found, page[1]
end

-- The numbers of the early events that the earlier run keeps.
local early_numbers
local function is_early(number)
  if not early_numbers then
    early_numbers = {}
    for _, field in ipairs(redis.call('HKEYS', prefix .. 'early:' .. p.source)) do
      early_numbers[string.match(field, '^%d+')] = true
    end
  end
  return early_numbers[number]
end

-- Whether the key of an event goes along: see with_events in core/execution/reruns.py. `owner` is the step that was given
-- the event ('s' and its key), or the number of the early event ('#' and that).
local function goes_along(owner)
  local kind, name = string.sub(owner, 1, 1), string.sub(owner, 2)
  if kind == 's' then
    local state = get_step(name)
    return state and state.s == 'completed'
  end
  return kind ~= '#' or p.retry or not is_early(name)
end

-- Copy one early event, the next after this number. Gives the row that continues, or nil.
local function copy_early(after)
  local following, field
  for _, name in ipairs(redis.call('HKEYS', prefix .. 'early:' .. p.source)) do
    local number = tonumber(string.match(name, '^%d+'))
    if number > after and (not following or number < following) then following, field = number, name end
  end
  if not following then return nil end
  local event = redis.call('HGET', prefix .. 'early:' .. p.source, field)
  redis.call('HSET', early_events(), field, event)
  copied_bytes = copied_bytes + #event
  local sender = 'b:' .. text(following)
  copy_value(sender, values_of(sender)[1])
  return 'e' .. text(following)
end

local function copy_keys(cursor)
  write(fields) -- the states of the steps that are kept
  fields = {}
  local page, following = page_of_keys(cursor)
  for _, found in ipairs(page) do
    local key, owner = found[1], found[2]
    if goes_along(owner) then
      if redis.call('SADD', taken_events(), key) == 1 then redis.call('HINCRBY', run, 'ek', 1) end
      if owner ~= '' then redis.call('HSET', owners_of_keys(), 'k' .. key, owner) end
      if string.sub(owner, 1, 1) == '#' then redis.call('HSET', owners_of_keys(), 'n' .. string.sub(owner, 2), key) end
    end
  end
  return following ~= '0' and 't' .. following or nil
end

-- Do what rows say, as many as one script may: a row that is not done at once is replaced by the one that continues it. Gives
-- how many are done, and the steps that were started. `live`: the run has not ended, so its steps start.
local function copy_rows(rows, live, at)
  local started, done, looks = {}, 0, 0
  while done < #rows and looks < COPIED_ROWS and copied_bytes < COPIED_BYTES do
    looks = looks + 1
    local row, again = rows[done + 1], nil
    local kind, rest = string.sub(row, 1, 1), string.sub(row, 2)
    local name, value = string.match(rest, '^([^|]*)|(.*)$')
    if kind == 'k' then
      set('s:' .. name, value)
      local found = values_of('r:' .. name, 'm:' .. name, 'c:' .. name)
      copy_value('r:' .. name, found[1])
      copy_value('m:' .. name, found[2])
      copy_value('c:' .. name, found[3])
    elseif kind == 'c' or kind == 'a' then
      copy_value(kind .. ':' .. rest, values_of(kind .. ':' .. rest)[1])
    elseif kind == '=' then
      set(name, value)
    elseif kind == 'e' then
      again = copy_early(tonumber(rest))
    elseif kind == 't' then
      looks = looks + KEYS_AT_ONCE
      again = copy_keys(rest)
    elseif kind == '!' then
      local step = cjson.decode(rest)
      begin(step[1], step[2], step[3] ~= '' and step[3] or nil, at, step[4] ~= '' and step[4] or nil, step[5])
      if live then started[#started + 1] = step[1] end
    else
      error('bad row of a copy', 0)
    end
    if again then rows[done + 1] = again else done = done + 1 end
    if given and kind == 't' then break end -- the caller has read one page
  end
  if live then queue(at) end
  return done, started
end
