// The tasks extension's own TypeScript client on the SDK 2.x: `ts2_tasks.mjs URL`.
// Every task that comes is held against the extension's own schema, in each of its five statuses.
import assert from "node:assert/strict";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";
import { CreateTaskResultV2Schema, DetailedTaskV2Schema } from "@modelcontextprotocol/ext-tasks/core/v2";

const EXTENSION = "io.modelcontextprotocol/tasks";
const protocolVersion = "2026-07-28";
const clientInfo = { name: "foreign-tasks", version: "1" };
const clientCapabilities = { elicitation: {}, extensions: { [EXTENSION]: {} } };
const url = new URL(process.argv[2]);

const client = new Client(clientInfo, {
  capabilities: clientCapabilities,
  versionNegotiation: { mode: { pin: protocolVersion } },
});
await client.connect(new StreamableHTTPClientTransport(url));

// The extension's package leaves the sending of task requests to its host.
let requests = 0;
async function rawDispatch(request, options = {}) {
  const name = request.params.name ?? request.params.taskId;
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      "MCP-Protocol-Version": protocolVersion,
      "Mcp-Method": request.method,
      ...(name === undefined ? {} : { "Mcp-Name": name }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: ++requests, ...request }),
    signal: options.signal,
  });
  const text = await response.text();
  const json = response.headers.get("content-type").startsWith("text/event-stream")
    ? text.split("\n").filter((line) => line.startsWith("data: ")).at(-1).slice("data: ".length)
    : text;
  const message = JSON.parse(json);
  if ("error" in message) return { kind: "error", error: message.error };
  judge(request.method, message.result);
  return { kind: "result", result: message.result };
}

const created = [];
const statuses = new Set();

/** Raises unless it is what the extension says it is. */
function judge(method, result) {
  if (method === "tools/call") {
    CreateTaskResultV2Schema.parse(result);
    created.push(result.taskId);
  } else if (method === "tasks/get") {
    statuses.add(DetailedTaskV2Schema.parse(result).status);
  }
}

const session = createTaskSessionFromClient(client, {
  endpointId: "fixture",
  rawDispatch,
  v2RequestFraming: { protocolVersion, clientInfo, clientCapabilities },
  onInputRequest: async (request) => {
    assert.equal(request.kind, "elicitation");
    return { action: "accept", content: { confirm: true } };
  },
});

const computed = await (await session.callTool("slow_compute", { seconds: 1, label: "work" })).settle();
assert.match(resultFromTaskOutcome(computed.outcome).content[0].text, /work took 1 seconds/);
assert.equal(computed.lastTask.status, "completed");

const asked = await (await session.callTool("confirm_delete", { filename: "a.txt" })).settle();
assert.match(resultFromTaskOutcome(asked.outcome).content[0].text, /Deleted a.txt/);

/** The status of the newest task: the client itself does not look between two polls, nor after a cancellation. */
async function look() {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": protocolVersion,
    "io.modelcontextprotocol/clientInfo": clientInfo,
    "io.modelcontextprotocol/clientCapabilities": clientCapabilities,
  };
  const looked = await rawDispatch({ method: "tasks/get", params: { taskId: created.at(-1), _meta } });
  return looked.result.status;
}

const endless = await session.callTool("slow_compute", { seconds: 600, label: "endless" });
assert.equal(await look(), "working");
await endless.cancel();
assert.equal((await endless.settle()).outcome.status, "cancelled");
while ((await look()) !== "cancelled");

const failed = await (await session.callTool("protocol_error_job", {})).settle();
assert.equal(failed.outcome.status, "failed");

assert.equal(created.length, 4);
assert.deepEqual([...statuses].sort(), ["cancelled", "completed", "failed", "input_required", "working"]);

await session.close();
await client.close();
