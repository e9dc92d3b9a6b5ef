"""One attempt of one task, from the claim to its last event.

attempt.py        runs the function, stops it, decides how it ended
outbox.py         events the function reported that are not committed yet
runners.py        on the event loop, in a thread
process_child.py  the process's side of a function in a process of its own
watchdog.py       logs where the event loop is blocked
"""
