// The TypeScript SDK 2.x: `ts2.mjs MODE URL` or `ts2.mjs MODE stdio COMMAND...`; MODE is legacy or auto.
import assert from "node:assert/strict";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { callDirectly, followTools } from "./story.mjs";

const [mode, target, command, ...args] = process.argv.slice(2);
const transport =
  target === "stdio"
    ? new StdioClientTransport({ command, args, env: process.env })
    : new StreamableHTTPClientTransport(new URL(target));
const client = new Client({ name: "foreign-ts2", version: "1" }, { versionNegotiation: { mode } });
await client.connect(transport);
assert.equal(client.getProtocolEra(), mode === "legacy" ? "legacy" : "modern");
const callTool = (params, options) => client.callTool(params, options);
await followTools(callTool);
await callDirectly(callTool);
await client.close();
