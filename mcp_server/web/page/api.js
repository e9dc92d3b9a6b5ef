// Requests to this server, and its event streams. `fetch` and not EventSource: that cannot send a key.

export const root = document.documentElement.dataset.root;
const KEY = "longtasks-key";

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const setKey = (key) => sessionStorage.setItem(KEY, key);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function send(path, { body, ...options } = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(root + path, { ...options, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (response.ok || response.status === 503 && path === "/health") return response;
  let message = `${response.status} ${response.statusText}`;
  try {
    const told = await response.json();
    message = told.error_description ?? told.error ?? message;
  } catch { /* no JSON: the status says it */ }
  throw new Refused(response.status, message);
}

export const get = async (path, options) => (await send(path, options)).json();
export const post = async (path, body = {}) => (await send(path, { method: "POST", body })).json();
export const at = (id, more = "") => `/tasks/${encodeURIComponent(id)}${more}`;

export const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

async function* frames(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", id = null, name = "message", data = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const raw of lines) {
      const line = raw.replace(/\r$/, ""), colon = line.indexOf(":"), field = line.slice(0, colon);
      const text = line.slice(colon + 1).replace(/^ /, "");
      if (line === "") {
        if (data) yield { id, name, data: JSON.parse(data) };
        [id, name, data] = [null, "message", ""];
      } else if (field === "id") id = text;
      else if (field === "event") name = text;
      else if (field === "data") data += text;
    }
  }
}

// The events of a task to its end, across lost connections; `lost` hears of those, with null when one is back.
export async function* events(id, signal, lost) {
  let cursor = "0", delay = 500;
  while (!signal.aborted) {
    try {
      const response = await send(at(id, "/stream"), { signal, headers: { Accept: "text/event-stream", "Last-Event-ID": cursor } });
      if (response.status === 204) return;
      lost(null);
      delay = 500;
      for await (const frame of frames(response)) {
        if (frame.name === "gap") cursor = String(frame.data.first_event_id - 1);
        if (frame.id !== null) cursor = frame.id;
        yield frame;
        if (frame.name === "done" || frame.name === "error") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status < 500) throw error;
      lost(error);
    }
    await pause(delay, signal);
    delay = Math.min(delay * 2, 10_000);
  }
}
