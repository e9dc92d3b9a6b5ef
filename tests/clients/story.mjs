// What every foreign JavaScript client does; the same story as story.py, for the SDKs of the other language.
// `client` has callTool({name, arguments}, options) like both majors of the TypeScript SDK.
import assert from "node:assert/strict";

const STEPS = 5;
const OVER = new Set(["completed", "failed", "cancelled"]);

/** The reply object, which a result has to carry twice: as structured content and as JSON text. */
function reply(result) {
  assert.deepEqual(JSON.parse(result.content[0].text), result.structuredContent);
  return result.structuredContent;
}

export async function followTools(callTool) {
  const call = async (name, args) => reply(await callTool({ name, arguments: args }));

  const started = await call("start_long_task", {
    task_type: "data_analysis",
    arguments: { duration_seconds: 1, steps: STEPS },
    wait_seconds: 0,
  });
  const operation_id = started.data.operation_id;
  await follow(call, operation_id);
  const result = await call("get_task_result", { operation_id });
  assert.equal(result.data.output.steps, STEPS);

  const other = await call("start_long_task", {
    task_type: "data_processing",
    duration_seconds: 600,
    wait_seconds: 0,
  });
  const id = other.data.operation_id;
  const cancelled = await call("cancel_task", { operation_id: id, reason: "enough" });
  assert.ok(["cancelled", "cancel_requested"].includes(cancelled.data.outcome));
  const ended = await call("get_task_progress", { operation_id: id, wait_seconds: 20 });
  assert.equal(ended.data.status, "cancelled");
  const missing = await call("get_task_progress", { operation_id: "nobody-has-this-id" });
  assert.equal(missing.error_code, "NOT_FOUND");
}

/** By long poll with a cursor: every event once, in order, to the end. */
async function follow(call, operation_id) {
  const numbers = [];
  for (let status = "queued"; !OVER.has(status); ) {
    const since = numbers.at(-1) ?? 0;
    const progress = await call("get_task_progress", { operation_id, since, wait_seconds: 20 });
    status = progress.data.status;
    numbers.push(...progress.data.events.map((event) => event.id).filter((id) => id !== null));
  }
  assert.deepEqual(numbers, numbers.map((_, index) => index + 1));
}

/** A task type's own tool: a caller that shows progress is answered with the result itself. */
export async function callDirectly(callTool) {
  const seen = [];
  const result = await callTool(
    { name: "data_analysis", arguments: { duration_seconds: 1, steps: 4 } },
    { onprogress: (report) => seen.push(report.progress) },
  );
  assert.equal(result.structuredContent.steps, 4);
  assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
}
