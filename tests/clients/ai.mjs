// The AI SDK 7: what `useChat` does with a task's log. Usage: `ai.mjs URL`, the URL of `/mcp` of the server of chat.py.
import assert from "node:assert/strict";
import { DefaultChatTransport, readUIMessageStream } from "ai";

const mcp = process.argv[2];
const base = mcp.replace(/\/mcp$/, "");

async function start(args) {
  const response = await fetch(mcp, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({
      jsonrpc: "2.0", id: 1, method: "tools/call",
      params: { name: "start_long_task", arguments: { task_type: "chat", arguments: args } },
    }),
  });
  return (await response.json()).result.structuredContent.data.operation_id;
}

// The strict parser is the transport's: a chunk of a type that it does not know throws.
async function message(id, query = "") {
  const api = `${base}/progress/${id}/ui-messages${query}`;
  const transport = new DefaultChatTransport({ api, prepareReconnectToStreamRequest: () => ({ api }) });
  const stream = await transport.reconnectToStream({ chatId: "c" });
  if (stream === null) return null;
  let last, failure;
  for await (const seen of readUIMessageStream({ stream, onError: (error) => (failure = error) })) last = seen;
  return { message: last, failure };
}

const text = (found) => found.message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");
const words = Array.from({ length: 200 }, (_, number) => `word${number} `);

const id = await start({ words });
const live = await message(id); // while it runs
assert.equal(live.message.id, id);
assert.equal(text(live), words.join(""));
const kinds = live.message.parts.map((part) => part.type);
assert.equal(kinds.filter((kind) => kind === "data-progress").length, 1, kinds.join());
assert.equal(kinds.filter((kind) => kind === "text").length, 1, kinds.join());
const tool = live.message.parts.find((part) => part.type === "tool-search");
assert.deepEqual([tool.state, tool.output], ["output-available", [1, 2]]);
assert.equal(live.failure, undefined);

const again = await message(id); // after a reload: the same message
assert.equal(text(again), words.join(""));

const snapshot = await (await fetch(`${base}/progress/${id}`)).json();
assert.equal(await message(id, `?last_event_id=${snapshot.last_event_id}`), null); // nothing to resume

const failed = await message(await start({ words: ["half "], end: "badly" }));
assert.equal(text(failed), "half ");
assert.match(String(failed.failure), /no luck/);
