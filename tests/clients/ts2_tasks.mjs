// The tasks extension's own TypeScript client on the SDK 2.x: `ts2_tasks.mjs URL`.
import assert from "node:assert/strict";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";

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
  return "error" in message ? { kind: "error", error: message.error } : { kind: "result", result: message.result };
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

const endless = await session.callTool("slow_compute", { seconds: 600, label: "endless" });
await endless.cancel();
assert.equal((await endless.settle()).outcome.status, "cancelled");

await session.close();
await client.close();
