"""One attempt of one task, from the claim to its last event.

dispatch.py       takes up what the backend hands out
attempt.py        runs the function, stops it, decides how the attempt ends
outbox.py         events the function reported that are not committed yet; writes them
raised.py         what an exception says to callers
runners.py        a function on the event loop, in a thread
process.py        a function in a process of its own: the server's side
process_child.py  the side of the process
pipe.py           what the two say to each other
forking.py        makes the processes: forks of a warm one, or fresh interpreters
fork_server.py    the warm one
watchdog.py       logs where the event loop is blocked
"""
