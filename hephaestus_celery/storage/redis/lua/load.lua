-- A run as it stands, in one moment.   reply: {} or {start, fields, packed}
local fields = redis.call('HGETALL', run)
if #fields == 0 then return {} end
return { read_start(), packed(fields) }
