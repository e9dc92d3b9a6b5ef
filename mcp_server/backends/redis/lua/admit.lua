-- needs: store queue
-- Claim the next due tasks for a process, in order and within the limits of the fleet.
-- ARGV: program, lease (ms), token prefix, carrier ('-': the worker that is handed the task), slots,
-- running per owner (-1: any number), number of types, types (name and limit each, -1: any number),
-- tasks this process handed over before (id and token each): those not begun yet take a slot.
-- Returns the milliseconds until something may be due, then order and token of each claim.
local lease, prefix, carrier, slots = tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local per_owner, types = tonumber(ARGV[6]), tonumber(ARGV[7])
local BATCH = 200

local now = clock()
pulse(now, lease)
for i = 8 + 2 * types, #ARGV, 2 do
    local token, carried_by = holder(ARGV[i])
    if token == ARGV[i + 1] and carried_by == '-' then
        slots = slots - 1
    end
end

-- Leases that ran out.
local reap_from = tonumber(redis.call('HGET', root, 'reap_from') or 0)
if now >= reap_from then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('claims'), '-inf', now, 'LIMIT', 0, BATCH)) do
        drop_claim(id)
        give_back(id, 0, now)
    end
end
-- Tasks whose time has come.
for _, order in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', now, 'LIMIT', 0, BATCH)) do
    redis.call('ZREM', key('delayed'), order)
    local stored = redis.call('HMGET', key('task', id_of(order)), 'type', 'owner', 'claimable')
    if stored[1] and stored[3] ~= 'never' then
        enqueue(order, stored[1], stored[2], stored[3])
    end
end

local function is_full(owner)
    return per_owner >= 0 and tonumber(redis.call('HGET', key('running'), 'owner:' .. owner) or 0) >= per_owner
end

-- The first task of a type whose owner may have one more running.
local function first(type, limit)
    if limit >= 0 and tonumber(redis.call('HGET', key('running'), 'type:' .. type) or 0) >= limit then
        return
    end
    local from = 0
    while true do
        local heads = redis.call('ZRANGE', key('heads', type), from, from + BATCH - 1)
        for _, head in ipairs(heads) do
            local order, owner = string.match(head, '^(.*) (%S*)$')
            if redis.call('EXISTS', key('task', id_of(order))) == 0 then
                -- Its record is gone though it never ended: an operator's DEL. Forget it.
                dequeue(order, type, owner)
            elseif not is_full(owner) then
                return order, owner
            end
        end
        if #heads < BATCH then
            return
        end
        from = from + BATCH
    end
end

local claims = {}
while slots > #claims / 2 do
    local best, best_type, best_owner
    for i = 8, 6 + 2 * types, 2 do
        local order, owner = first(ARGV[i], tonumber(ARGV[i + 1]))
        -- Digits only: how Lua compares other characters depends on the server's locale.
        if order and (not best or string.sub(order, 1, 17) < string.sub(best, 1, 17)) then
            best, best_type, best_owner = order, ARGV[i], owner
        end
    end
    if not best then
        break
    end
    local token = prefix .. '.' .. (#claims / 2)
    dequeue(best, best_type, best_owner)
    claim(id_of(best), token, carrier, best_type, best_owner, now + lease)
    claims[#claims + 1] = best
    claims[#claims + 1] = token
end

local due = {}
for _, name in ipairs({ 'delayed', 'claims' }) do
    local next = redis.call('ZRANGE', key(name), 0, 0, 'WITHSCORES')
    if next[2] then
        due[#due + 1] = math.max(tonumber(next[2]), name == 'claims' and reap_from or 0)
    end
end
table.sort(due)
return { math.max((due[1] or now + 3600000) - now, 0), unpack(claims) }
