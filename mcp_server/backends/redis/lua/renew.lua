-- needs: store queue
-- Renew leases; the ids of those that are lost.
-- ARGV: program, lease (ms), id and token of each
local lease = tonumber(ARGV[2])
local now = clock()
local lost = {}

pulse(now, lease)
for i = 3, #ARGV, 2 do
    local id, token = ARGV[i], ARGV[i + 1]
    if holder(id) == token then
        redis.call('ZADD', key('claims'), now + lease, id)
    else
        lost[#lost + 1] = id
    end
end
return lost
