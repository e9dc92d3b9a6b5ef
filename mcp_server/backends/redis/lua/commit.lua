-- needs: store queue
-- Replace a task's record and append events unless its version has changed: 1, or 0 if it has.
-- ARGV: program, id, version before, version after, digest of the events, status, claimable, not_before (ms),
-- first event to keep (0: drop none), seconds to keep the task (0: it is live), expires_at (s),
-- fields of the record (their number, then name and value each), events (number and bytes each)
local id, before, after, digest = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local status, claimable, not_before, first_event = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local keep, expires_at = tonumber(ARGV[10]), ARGV[11]
local fields = tonumber(ARGV[12])
local task = key('task', id)

local stored = redis.call('HMGET', task, 'version', 'digest', 'status', 'claimable', 'order', 'type', 'owner',
    'idempotency')
if stored[1] ~= before then
    -- The first answer was lost and the caller asks again.
    return (stored[1] == after and stored[2] == digest) and 1 or 0
end
local was, was_claimable, order, type, owner, idempotency = unpack(stored, 3, 8)

redis.call('HSET', task, 'version', after, 'digest', digest, 'status', status, 'claimable', claimable,
    'not_before', not_before, unpack(ARGV, 13, 12 + 2 * fields))
append(id, 13 + 2 * fields)
if first_event > 0 then
    redis.call('XTRIM', key('log', id), 'MINID', first_event .. '-0')
end
list(order, type, owner, was, status)
if was_claimable ~= claimable then
    local held = holder(id)
    if was_claimable == 'when_due' or not held then
        dequeue(order, type, owner)
    end
    -- While its claim lasts it is given to no other process: the release queues it. A live
    -- task without a claim was left by a dead process and is due at once.
    if claimable ~= 'never' and not held then
        local due = claimable == 'when_due' and not_before or 0
        if queue_at(order, type, owner, claimable, due, clock()) then
            wake('work', type)
        end
    end
end
if keep > 0 then
    redis.call('HSET', task, 'expires_at', expires_at)
    redis.call('ZADD', key('expiry'), expires_at, table.concat({ status, type, owner, idempotency, order }, ' '))
    redis.call('PEXPIRE', task, keep * 1000)
    redis.call('PEXPIRE', key('log', id), keep * 1000)
    if idempotency ~= '' and redis.call('GET', key('idempotency', owner, idempotency)) == id then
        redis.call('PEXPIRE', key('idempotency', owner, idempotency), keep * 1000)
    end
end
wake('event:' .. id, after)
return 1
