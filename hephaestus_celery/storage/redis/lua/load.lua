-- A run as it stands, in one moment.   reply: {} or {start, lengths of the fields, fields}
local fields = redis.call('HGETALL', run)
if #fields == 0 then return {} end
return { read_start(), packed(fields) }
