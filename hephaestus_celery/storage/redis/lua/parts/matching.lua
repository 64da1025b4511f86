-- Which runs a listing holds: goes through indexes of runs, newest first, and checks the filters on each run.
-- Mirrors core/execution/listing.py. Reads the indexes in p.indexes together (one, or one for each wanted status). Closes
-- no race: a run may change between two pages.
--   p.statuses, p.name, p.family, p.version, p.id, p.tag, p.failed, p.retried, p.paused: the filters of runs; those that are
--   absent admit all
--   p.waits: the index is one of waits; then p.event and p.since are the filters of a wait
--   p.max, p.below: continue below this score, or at this score below this entry   p.min: the least score
-- needs: run
local top, below = p.max, p.below

-- The fields of a run that are looked at, its status first, and what each of the others must be.
local looked_at, wanted = { 'st' }, {}
for field, value in pairs({ name = p.name, family = p.family, version = p.version, id = p.id, fs = p.failed }) do
  looked_at[#looked_at + 1] = field
  wanted[#looked_at] = value
end
local pause_at = #looked_at + 1 -- where the run's own pause is found, and then its family
if p.paused ~= nil then looked_at[pause_at], looked_at[pause_at + 1] = 'pa', 'family' end
if p.retried ~= nil then looked_at[#looked_at + 1] = 'ra' end -- the last of them

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
  if #p.indexes > 1 then table.sort(merged, later) end
  return merged
end

-- Whether a step waits as it is asked for; an entry that was left over is dropped.
local function is_wait(candidate, key, status)
  local stored = redis.call('HGET', key, 's:' .. string.match(candidate[2], '|(.+)$'))
  local well, step = pcall(cjson.decode, stored or 'null') -- a newer version may have written it
  if is_final(status) or not well or type(step) ~= 'table' or step.s ~= 'waiting' or step.r then
    if well then redis.call('ZREM', candidate[3], candidate[2]) end
    return false
  end
  if p.event and not (step.x and step.x[p.event]) then return false end
  return not p.since or (step.w ~= nil and tonumber(step.w) < p.since)
end

-- Whether a run is paused, by itself or with its workflow.
local families = {}
local function is_paused(status, own, family)
  if is_final(status) then return false end
  if own then return true end
  if family and families[family] == nil then families[family] = redis.call('EXISTS', paused_family(family)) == 1 end
  return family and families[family] or false
end

local function matches(candidate)
  local key = prefix .. 'run:' .. candidate.run
  local core = redis.call('HMGET', key, unpack(looked_at))
  if not core[1] then
    redis.call('ZREM', candidate[3], candidate[2]) -- its retention is over
    return false
  end
  if p.waits and not is_wait(candidate, key, core[1]) then return false end
  if p.statuses[core[1]] == nil then return false end
  for i = 2, #looked_at do
    if wanted[i] ~= nil and core[i] ~= wanted[i] then return false end
  end
  if p.retried ~= nil and p.retried ~= (core[#looked_at] ~= false) then return false end
  if p.paused ~= nil and is_paused(core[1], core[pause_at], core[pause_at + 1]) ~= p.paused then return false end
  return not p.tag or redis.call('ZSCORE', prefix .. 'index:tag:' .. p.tag, candidate.run) ~= false
end

-- The runs that match, from where the call before this one stopped: those that the page takes, and where the next call
-- continues, '' after the last run. Looks at p.budget entries at most, and takes p.limit runs; `further` says whether
-- another run is known to match.
local function find_matching()
  local found, looks, more, further = {}, 0, true, false
  while more and not further and looks < p.budget do
    local candidates = next_candidates(LIST_CHUNK)
    more = #candidates >= LIST_CHUNK
    for i = 1, math.min(LIST_CHUNK, #candidates) do
      local candidate = candidates[i]
      candidate.run = string.match(candidate[2], '^[^|]+')
      looks = looks + 1
      -- Several steps of one run may wait. Their entries follow each other, and the run's id alone comes before them.
      local taken = found[#found] and found[#found].run == candidate.run
      if not taken and matches(candidate) then
        further = #found == p.limit
        if further then break end
        found[#found + 1], taken = candidate, true
      end
      top, below = text(candidate[1]), taken and candidate.run or candidate[2]
    end
  end
  if further and #found > 0 then return found, text(found[#found][1]) .. ':' .. found[#found].run, true end
  return found, (more or further) and top .. ':' .. below or '', further
end
