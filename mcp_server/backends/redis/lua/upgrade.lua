-- needs: store
-- Bring a store of an older format to this one: records of live tasks get their `claimable`.
-- ARGV: program, status and claimable of each status there is
-- One step for all live tasks, about a second for 200 000: other programs find the one format or the other.
if tonumber(redis.call('HGET', root, 'format')) >= program then
    return 0
end
local words = {}
for i = 2, #ARGV, 2 do
    words[ARGV[i]] = ARGV[i + 1]
end
local function upgrade(id)
    local status = redis.call('HGET', key('task', id), 'status')
    if status then
        redis.call('HSET', key('task', id), 'claimable', words[status])
    end
end
for _, name in ipairs({ 'queue', 'stalled', 'delayed' }) do
    for _, order in ipairs(redis.call('ZRANGE', key(name), 0, -1)) do
        upgrade(id_of(order))
    end
end
for _, id in ipairs(redis.call('HKEYS', key('holders'))) do
    upgrade(id)
end
redis.call('HSET', root, 'format', program)
return 1
