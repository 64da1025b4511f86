-- Let a consumer leave its group of the event stream, if it holds nothing that it has not acknowledged.
-- Closes the race with an entry that is handed to it meanwhile: what a consumer holds would be lost with it.
--   p.group   p.consumer
--   reply: 1
-- needs: stream
demand({ group = 'string', consumer = 'string' })
local consumers = redis.pcall('XINFO', 'CONSUMERS', stream_key(), p.group)
for _, values in ipairs(consumers.err and {} or consumers) do
  local consumer = {}
  for i = 1, #values, 2 do consumer[values[i]] = values[i + 1] end
  if consumer.name == p.consumer and consumer.pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream_key(), p.group, p.consumer)
  end
end
return 1
