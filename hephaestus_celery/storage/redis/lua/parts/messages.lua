-- Prepared messages: checks them, and puts them on a broker's list.
-- needs: arguments

-- Check p.prepared: for each step, the number of its list among KEYS[6...], and of its message among the arguments after
-- `before`.
local function demand_prepared(before)
  inside('prepared', p.prepared == nil or is_object(p.prepared, function(prepared_message)
    return is_row(prepared_message, is_count, is_count) and KEYS[5 + prepared_message[1]] and ARGV[before + prepared_message[2]]
  end))
end

-- Check p.messages, which have been sent: {run id, step, attempt, token, lane}.
local function demand_messages(is_lane)
  inside('messages', is_list(p.messages, function(message)
    return is_row(message, is_name, is_name, is_whole, is_whole, is_lane) and #message == 5
  end))
end

-- Put a prepared message on a broker's list; gives whether that worked. It is the last thing a script does, since that
-- key may hold anything.
local function post(list, message)
  local pushed = redis.pcall('LPUSH', list, message)
  return type(pushed) == 'number'
end
