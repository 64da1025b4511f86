-- A sign of life of those who hold steps of this partition.
--   p.leases: {run id, step, fence}...
--   reply: 1 or 0 for each: whether it is still held
local reply = {}
local at = now()
for i, lease in ipairs(p.leases) do
  at_run(lease[1])
  local step = get_step(lease[2])
  reply[i] = 0
  if step and step.f == lease[3] and not is_final(redis.call('HGET', run, 'st')) then
    set_timer(lease[2], lease_end(at, p.lease, step))
    reply[i] = 1
  end
end
return reply
