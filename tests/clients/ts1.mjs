// The TypeScript SDK 1.x: `ts1.mjs URL` or `ts1.mjs stdio COMMAND...`.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { callDirectly, followTools } from "./story.mjs";

const [target, command, ...args] = process.argv.slice(2);
const transport =
  target === "stdio"
    ? new StdioClientTransport({ command, args, env: process.env })
    : new StreamableHTTPClientTransport(new URL(target));
const client = new Client({ name: "foreign-ts1", version: "1" });
await client.connect(transport);
const callTool = (params, options) => client.callTool(params, undefined, options);
await followTools(callTool);
await callDirectly(callTool);
await client.close();
