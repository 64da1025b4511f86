-- Find runs whose ids begin with a text, newest first: a slice of all runs by their start.
-- Each call looks at a few hundred runs of each index. Closes no race: a run may start or be pruned right after the call.
--   p.indexes: the indexes of all runs, by status   p.beginning: the text   p.limit: the most runs to find
--   p.max, p.below: continue below this start, or at this start below this run id
--   reply: names and values: `found`, the run ids, separated by blanks; `position`, where the next call continues, or ''
-- needs: arguments
demand({ indexes = 'table', beginning = 'string', limit = 'number', max = 'string', below = 'string?' })
local wanted, length = p.beginning, #p.beginning
local found, cut, cut_id = {}, nil, nil

local function is_below(score, member)
  return not p.below or score ~= p.max or member < p.below
end

-- A page of each index. Runs at or above the highest end of a full page are complete: in no index others stand between.
local pages = {}
for _, index in ipairs(p.indexes) do
  local offset, page = 0, nil
  repeat -- runs of one start that earlier calls have passed
    page = redis.call('ZREVRANGEBYSCORE', index, p.max, '-inf', 'WITHSCORES', 'LIMIT', offset, BEGINNING_CHUNK)
    offset = offset + BEGINNING_CHUNK
  until #page < 2 * BEGINNING_CHUNK or is_below(page[#page], page[#page - 1])
  if #page == 2 * BEGINNING_CHUNK then
    local score, member = tonumber(page[#page]), page[#page - 1]
    if not cut or score > cut or (score == cut and member > cut_id) then cut, cut_id = score, member end
  end
  pages[#pages + 1] = { index, page }
end
for _, entry in ipairs(pages) do
  local page = entry[2]
  for i = 1, #page, 2 do
    local member, score = page[i], tonumber(page[i + 1])
    if string.sub(member, 1, length) == wanted and is_below(page[i + 1], member)
      and (not cut or score > cut or (score == cut and member >= cut_id)) then
      if redis.call('EXISTS', prefix .. 'run:' .. member) == 1 then
        found[#found + 1] = { score, member }
      else
        redis.call('ZREM', entry[1], member) -- its retention is over
      end
    end
  end
end
table.sort(found, function(a, b) return a[1] > b[1] or (a[1] == b[1] and a[2] > b[2]) end)
local ids = {}
for i = 1, math.min(#found, p.limit) do ids[i] = found[i][2] end
return { 'found', table.concat(ids, ' '), 'position', cut and text(cut) .. ':' .. cut_id or '' }
