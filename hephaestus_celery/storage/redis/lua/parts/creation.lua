-- Creation: stores a new run, and sends the messages of its first steps. Shared by create.lua and create_many.lua.
-- needs: joins starts

-- Whether these are first steps whose messages, if they have some, stand among the arguments after `before`.
-- Each is {key, most attempts, number of its list among KEYS[6...], number of its message}; the last two only where the
-- broker is this server.
local function are_firsts(firsts, before)
  return is_list(firsts, function(first)
    if not is_row(first, is_name, is_often) then return false end
    if #first == 2 then return true end
    return #first == 4 and is_count(first[3]) and is_count(first[4]) and KEYS[5 + first[3]] and ARGV[before + first[4]]
  end)
end

-- Whether a run may have this id: readers of the runs rely on its form.
local RUN_ID_LENGTH = 36 -- characters, as of any UUID
local function is_run_id(value)
  return type(value) == 'string' and #value == RUN_ID_LENGTH and string.find(value, '^%x%x%x%x%x%x%x%x%-[%x%-]+$') and value == string.lower(value)
end

-- Store the run p.run_id, and start it, unless an active run holds its id. From the argument `from` on are its header, its
-- initial context, a config or '' for each of p.firsts, and their messages. Gives the reply of create.lua.
local function create(from, at)
  local holder = find_holder()
  if holder then return holder end
  know_pause(false, p.family)
  local moment, initial, before = text(at), ARGV[from + 1], from + 1
  fields = first_fields(ARGV[from], moment, 0, #p.firsts + (p.settling and 1 or 0))
  set('i', initial)
  local bytes = 0
  for i, first in ipairs(p.firsts) do
    first.k, first.t = p.lanes and p.lanes[first[1]], sent_at(at)
    fields[#fields + 1] = 's:' .. first[1]
    fields[#fields + 1] = cjson.encode({
      s = 'active', a = 1, m = first[2], d = 1, q = moment, k = first.k, t = first.t, p = is_held() and UNSENT or nil,
    })
    local config = ARGV[before + i]
    if config ~= '' then
      fields[#fields + 1] = 'c:' .. first[1]
      fields[#fields + 1] = '0|' .. config
      bytes = bytes + #config
    end
  end
  fields[#fields + 1] = 'sz'
  fields[#fields + 1] = bytes
  if #initial > SMALL then
    fields[#fields + 1] = 'il'
    fields[#fields + 1] = 1
  end
  if p.settling then begin_settling('', p.settling, {}) end
  write(fields)
  make_known(moment)
  if is_held() then -- its workflow is paused
    local entries = {}
    for _, first in ipairs(p.firsts) do
      entries[#entries + 1] = moment
      entries[#entries + 1] = first[1]
    end
    note_parked(entries)
    return 'posted'
  end
  for _, first in ipairs(p.firsts) do await_claim(first[1], first, at) end
  local posted = true
  for _, first in ipairs(p.firsts) do
    posted = first[3] and post(KEYS[5 + first[3]], ARGV[before + #p.firsts + first[4]]) and posted
  end
  return posted and 'posted' or 'ok'
end
