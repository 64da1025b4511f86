-- Renew the leases of attempts of one partition (the part of the keys that one script can reach).
-- Closes the race of a late renewal with a rescue: a worker that lost the fence renews nothing.
--   p.leases: {run id, step, fence}...   p.wanted: a step that ends late (see parts/late.lua) is renewed, and gets 0
--   reply: for each lease, in their order, 1 if it is still held, else 0
-- needs: due
demand({ leases = 'table', lease = 'number', wanted = 'boolean?' })
inside('leases', is_list(p.leases, function(lease) return is_row(lease, is_name, is_name, is_text) and #lease == 3 end))

-- A step that can't be read counts as no longer held; the other leases are renewed all the same.
local function readable_step(key)
  local well, found = pcall(get_step, key)
  if well then return found end
  local message = type(found) == 'table' and found.err or tostring(found)
  if not string.find(message, 'WRONGTYPE') and not string.find(message, 'Expected') then error(found, 0) end
  return nil
end

local reply = {}
local at = now()
for i, lease in ipairs(p.leases) do
  at_run(lease[1])
  local step = readable_step(lease[2])
  reply[i] = 0
  if step and step.f == lease[3] and not is_final(redis.call('HGET', run, 'st')) then
    set_timer(lease[2], lease_end(at, p.lease, step))
    if not p.wanted or step.cp or redis.call('HEXISTS', run, 'ue') == 0 then reply[i] = 1 end
  end
end
return reply
