"""The MCP side: tools over the engine, the tasks extension, and the HTTP endpoint that serves every kind of client.

A call comes in by `endpoint`, past `auth` (or by the SDK's stdio), and is fitted to who sent it: `caller`.

- The tools for tasks: `tools` (start, find, cancel) and `following` (progress, result, questions), whose
  methods return data that `reply` puts into the envelope.
- A task type's own tool: `type_tools` makes it; its calls go to `extension`, which makes tasks of them
  for clients of the tasks extension (in the shapes of `detailed`, pushed by `notifications`) and leaves the
  others to `direct`.
- What an answer says: `snapshots` (a task as the tools show it), `results` (its result as that of a
  tool call), `paging` (long results), `advice` (what a person or a model reads).
- While a call is held: `wait` (how long, for whom), `beat` (progress notifications), `rounds`.
"""
