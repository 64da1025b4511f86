-- A run as it stands, in one moment.   reply: {} or {start, fields...}
local fields = redis.call('HGETALL', run)
if #fields == 0 then return {} end
local reply = { read_start() }
for _, value in ipairs(fields) do reply[#reply + 1] = value end
return reply
