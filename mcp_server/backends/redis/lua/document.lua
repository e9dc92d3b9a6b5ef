-- needs: store
-- Store, replace or delete a small document: 1, or 0 if there was nothing to replace or delete.
-- ARGV: program, `put`, `replace` or `delete`, kind, id, value
local act, kind, id = ARGV[2], ARGV[3], ARGV[4]

if act ~= 'put' and redis.call('HEXISTS', key('documents', kind), id) == 0 then
    return 0
end
if act == 'delete' then
    redis.call('HDEL', key('documents', kind), id)
    redis.call('ZREM', key('documents', kind, 'ids'), id)
else
    redis.call('HSET', key('documents', kind), id, ARGV[5])
    redis.call('ZADD', key('documents', kind, 'ids'), 0, id)
end
return 1
