-- needs: store queue
-- Store a new task, unless its idempotency key names one that still counts; the id of that task.
-- ARGV: program, id, order, type, owner, idempotency key, status, claimable, not_before (ms), now (s),
-- fields of the record (their number, then name and value each), events (number and bytes each)
local id, order, type, owner, idempotency = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local status, claimable, not_before, now = ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local fields = tonumber(ARGV[11])

if idempotency ~= '' then
    local first = redis.call('GET', key('idempotency', owner, idempotency))
    if first and redis.call('EXISTS', key('task', first)) == 1 then
        local expires = redis.call('HGET', key('task', first), 'expires_at')
        if not expires or tonumber(expires) > now then
            return first
        end
    end
end
-- The first answer was lost and the caller asks again.
if redis.call('EXISTS', key('task', id)) == 1 then
    return id
end

-- A full Redis refuses the first write; from there on it lets a script finish.
redis.call('HSET', key('task', id), 'order', order, 'type', type, 'owner', owner, 'idempotency', idempotency,
    'status', status, 'claimable', claimable, 'not_before', not_before, unpack(ARGV, 12, 11 + 2 * fields))
append(id, 12 + 2 * fields)
if idempotency ~= '' then
    redis.call('SET', key('idempotency', owner, idempotency), id)
end
list(order, type, owner, nil, status)
if claimable == 'when_due' and queue_at(order, type, owner, claimable, not_before, clock()) then
    wake('work', type)
end
return id
