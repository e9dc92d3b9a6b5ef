"""The command line: `longtasks`.

main.py        the program: serve, stdio, version, errors in one line
tasks.py       run, watch, list, show, result, cancel, retry, answer: tasks of a running server
server.py      demo, types, health: a server as a whole
session.py     one conversation with a server: client, ids, errors in one line
output.py      the screen: tables, durations, any text in any encoding
fleet.py       worker and workers: processes on a shared backend
app_loader.py  the application that --app names, with flags over its settings
demo.py        the stock server
"""
