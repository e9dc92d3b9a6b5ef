-- needs: store queue
-- Take up a task that was handed over under `token`: 1, or 0 if that was done already or it was given back.
-- ARGV: program, id, token, carrier, lease (ms)
local id, token, carrier, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local held, carried_by, type, owner = holder(id)
if held ~= token or (carried_by ~= '-' and carried_by ~= carrier) then
    return 0
end
redis.call('HSET', key('holders'), id, table.concat({ token, carrier, type, owner }, ' '))
redis.call('ZADD', key('claims'), clock() + lease, id)
return 1
