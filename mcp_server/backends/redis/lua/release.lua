-- needs: store queue
-- End a claim and queue its task again if it is not over: 1, or 0 if the claim was lost before.
-- ARGV: program, id, token, pause (ms) of a task that was given up without being queued again
local id, token, pause = ARGV[2], ARGV[3], tonumber(ARGV[4])

if holder(id) ~= token then
    return 0
end
drop_claim(id)
give_back(id, pause, clock())
wake('work', '')
return 1
