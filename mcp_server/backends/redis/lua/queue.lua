-- Prelude of the scripts that queue or claim: what waits, and who has been given what.
--
-- `queue` holds every queued task that is due, in order: positions are counted there.
-- `queue:type:owner` holds what may be claimed of one owner's, a dead process's running
-- tasks too, and `heads:type` the first of each owner ("order owner"), so that a claim
-- that must pass over owners who are at their limit looks at one entry per owner however
-- much that owner has waiting. `stalled` holds those of a dead process, for who looks.
-- `delayed` holds what is not due yet, by its time. `claims` holds leases by their end,
-- `holders` the token, carrier, type and owner of each, `running` how many there are.
local function requeue_head(type, owner, before)
    local after = redis.call('ZRANGE', key('queue', type, owner), 0, 0)[1]
    if before ~= after then
        if before then
            redis.call('ZREM', key('heads', type), before .. ' ' .. owner)
        end
        if after then
            redis.call('ZADD', key('heads', type), 0, after .. ' ' .. owner)
        end
    end
end

local function enqueue(order, type, owner, claimable)
    local head = redis.call('ZRANGE', key('queue', type, owner), 0, 0)[1]
    redis.call('ZADD', key(claimable == 'when_due' and 'queue' or 'stalled'), 0, order)
    redis.call('ZADD', key('queue', type, owner), 0, order)
    requeue_head(type, owner, head)
end

local function dequeue(order, type, owner)
    local head = redis.call('ZRANGE', key('queue', type, owner), 0, 0)[1]
    redis.call('ZREM', key('delayed'), order)
    redis.call('ZREM', key('queue'), order)
    redis.call('ZREM', key('stalled'), order)
    redis.call('ZREM', key('queue', type, owner), order)
    requeue_head(type, owner, head)
end

-- `due` in milliseconds. True if the task may be claimed at once.
local function queue_at(order, type, owner, claimable, due, now)
    if due > now then
        redis.call('ZADD', key('delayed'), due, order)
        return false
    end
    enqueue(order, type, owner, claimable)
    return true
end

local function claim(id, token, carrier, type, owner, deadline)
    redis.call('ZADD', key('claims'), deadline, id)
    redis.call('HSET', key('holders'), id, table.concat({ token, carrier, type, owner }, ' '))
    redis.call('HINCRBY', key('running'), 'type:' .. type, 1)
    redis.call('HINCRBY', key('running'), 'owner:' .. owner, 1)
end

-- token, carrier, type, owner; nothing if the task is not claimed
local function holder(id)
    local held = redis.call('HGET', key('holders'), id)
    if held then
        return string.match(held, '^(%S+) (%S+) (%S+) (%S*)$')
    end
end

local function count_down(field)
    if redis.call('HINCRBY', key('running'), field, -1) <= 0 then
        redis.call('HDEL', key('running'), field)
    end
end

local function drop_claim(id)
    local token, _, type, owner = holder(id)
    redis.call('ZREM', key('claims'), id)
    if token then
        redis.call('HDEL', key('holders'), id)
        count_down('type:' .. type)
        count_down('owner:' .. owner)
    end
end

-- Put a task that no process holds any more back into the queue, unless it is over or waits for another party.
-- `pause`: milliseconds a task waits whose handler gave up without queueing it again.
local function give_back(id, pause, now)
    local stored = redis.call('HMGET', key('task', id), 'order', 'type', 'owner', 'claimable', 'not_before')
    if stored[1] and stored[4] ~= 'never' then
        local due = stored[4] == 'when_due' and tonumber(stored[5]) or now + pause
        queue_at(stored[1], stored[2], stored[3], stored[4], due, now)
    end
end

-- After a silence of the whole fleet (Redis was away, or full) it is unknown who died
-- in it: holders get half a lease to come back before anything is taken from them.
local function pulse(now, lease)
    local last = tonumber(redis.call('HGET', root, 'pulse') or now)
    if now - last > lease / 2 then
        redis.call('HSET', root, 'reap_from', now + lease / 2)
    end
    redis.call('HSET', root, 'pulse', now)
end
