-- Prelude of every script: how keys are named and what a script may rely on.
--
-- KEYS[1] is the root key, `{prefix}`. All other keys begin with it, so they carry its
-- hash tag and lie in its slot; scripts build them from the root. ARGV[1] is the record
-- format this program writes: a store of a newer format is changed by none of its scripts,
-- not even to give something back. Types, owners and idempotency keys come in
-- percent-encoded: they hold neither ':' nor ' '. Nothing here knows which status may
-- follow which, or which statuses there are: `claimable` says when a task may be claimed.
local root, program = KEYS[1], tonumber(ARGV[1])

if tonumber(redis.call('HGET', root, 'format') or program) > program then
    return redis.error_reply('NEWER the store was upgraded by a newer program')
end

local function key(...)
    return root .. ':' .. table.concat({ ... }, ':')
end

-- Milliseconds on the one clock all processes share.
local function clock()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- `order` is priority digit (0 is claimed first), 16 digits of microseconds, ':' and the id.
local function id_of(order)
    return string.sub(order, 19)
end

-- Wake-ups are hints: a user who may not publish still commits.
local function wake(channel, message)
    redis.pcall('PUBLISH', key(channel), message)
end

-- Move a task between the lists of its owner: all of them, by status, by type, by both.
local function list(order, type, owner, from, to)
    if from == to then
        return
    end
    local entry = string.sub(order, 2)
    if from then
        redis.call('ZREM', key('list', owner, from), entry)
        redis.call('ZREM', key('list', owner, from, type), entry)
        redis.call('HINCRBY', key('counts'), from, -1)
    else
        redis.call('ZADD', key('list', owner, 'all'), 0, entry)
        redis.call('ZADD', key('list', owner, 'all', type), 0, entry)
    end
    if to then
        redis.call('ZADD', key('list', owner, to), 0, entry)
        redis.call('ZADD', key('list', owner, to, type), 0, entry)
        redis.call('HINCRBY', key('counts'), to, 1)
    else
        redis.call('ZREM', key('list', owner, 'all'), entry)
        redis.call('ZREM', key('list', owner, 'all', type), entry)
    end
end

local function append(id, first)
    for i = first, #ARGV, 2 do
        redis.call('XADD', key('log', id), ARGV[i] .. '-0', 'e', ARGV[i + 1])
    end
end
