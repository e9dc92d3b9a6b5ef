-- needs: store
-- Delete some tasks that have expired; how many.
-- ARGV: program, now (s), how many at most
local expired = redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', ARGV[2], 'LIMIT', 0, tonumber(ARGV[3]))

for _, member in ipairs(expired) do
    -- The entry says all that is needed: the record itself may have died of its TTL.
    local status, type, owner, idempotency, order = string.match(member, '^(%S*) (%S*) (%S*) (%S*) (.*)$')
    local id = id_of(order)
    redis.call('ZREM', key('expiry'), member)
    redis.call('UNLINK', key('task', id), key('log', id))
    if idempotency ~= '' and redis.call('GET', key('idempotency', owner, idempotency)) == id then
        redis.call('DEL', key('idempotency', owner, idempotency))
    end
    list(order, type, owner, status, nil)
    wake('event:' .. id, 'gone')
end
return #expired
