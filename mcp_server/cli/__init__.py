"""The command line: `longtasks`.

main.py        the program: serve, stdio, version, errors in one line
tasks.py       run, watch, list, result, cancel, answer, demo: clients of a running server
fleet.py       worker and workers: processes on a shared backend
app_loader.py  the application that --app names, with flags over its settings
demo.py        the stock server
"""
