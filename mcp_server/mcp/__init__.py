"""The MCP side: tools over the engine, the tasks extension, and the HTTP endpoint for every kind of client.

A call comes in by `endpoint`, past `auth` (or by the SDK's stdio); `caller` is what is known about its sender.

- `tools` are the nine tools that any client can call.
- `extension` is the tasks extension: it makes tasks of the calls of a task type's own tool, and serves the tasks
  to clients that follow them; `notifications` pushes them. `type_tools` makes those tools, and answers the
  clients without the extension.
- `reply` turns tasks into the `data` of answers, for both; `wait` decides how long a call is held, and holds it.
- `results` (tool results), `advice` (sentences for models and people), `rounds` (questions before a task) and
  `caller` are the ground that the others stand on: they import none of them.
"""
