// The list, the address bar and the dialogs. One task at most is followed by a stream; the list is asked for while it is seen.

import { Refused, get, hasKey, pause, post, root, setKey } from "./api.js";
import { byId, duration, make, messageText, moment, pill, progressText, schemaForm, statusText } from "./dom.js";
import { TaskView } from "./task.js";

const STATUSES = ["queued", "running", "input_required", "completed", "failed", "cancelled"];
const INTERVAL = 1500;
const PAGE = 50;
const rows = new Map();
const filter = { status: "", type: "", text: "" };
let order = [], older = [], olderCursor = null, view = null, types = [], wake = () => {};

function say(text) {
  byId("state").hidden = !text;
  if (byId("state").textContent !== text) byId("state").textContent = text;
}

// Addresses: /ui and /ui/tasks/ID, with the filter as query.

function address(path) {
  const query = new URLSearchParams(Object.entries({ status: filter.status, type: filter.type, q: filter.text }).filter(([, v]) => v));
  return root + path + (query.size ? `?${query}` : "");
}

function go(path) {
  history.pushState(null, "", address(path));
  show();
}

function show() {
  const query = new URLSearchParams(location.search);
  Object.assign(filter, { status: query.get("status") ?? "", type: query.get("type") ?? "", text: query.get("q") ?? "" });
  byId("search").value = filter.text;
  byId("type").value = filter.type;
  const id = decodeURIComponent(/\/ui\/tasks\/([^/]+)$/.exec(location.pathname)?.[1] ?? "");
  if (view?.id !== id) {
    view?.close();
    view = id ? new TaskView(id, byId("side"), { go, again: startDialog, lost: (error) => say(error ? "The server is away; coming back …" : "") }) : null;
  }
  byId("side").hidden = !id;
  document.querySelector("main").classList.toggle("two", Boolean(id));
  mark();
  wake();
}

// The list.

function row(task) {
  let seen = rows.get(task.operation_id);
  if (!seen) {
    const element = make("tr"), cells = Array.from({ length: 8 }, () => element.insertCell());
    const bar = make("progress", { max: 100, ariaLabel: "Progress" }), figure = make("span");
    cells[2].append(bar, " ", figure);
    cells[1].append(make("a", { href: `${root}/ui/tasks/${task.operation_id}`, title: task.operation_id }, task.task_type));
    cells[7].append(make("span", { title: task.operation_id }, task.operation_id.slice(0, 8)));
    seen = { element, cells, bar, figure };
    rows.set(task.operation_id, seen);
    element.onclick = (event) => { if (!event.target.closest("a")) go(`/ui/tasks/${task.operation_id}`); };
  }
  const { cells, bar, figure } = seen;
  if (seen.task?.last_event_id !== task.last_event_id) {
    cells[0].replaceChildren(pill(task.status));
    cells[3].textContent = cells[3].title = task.error?.message ?? messageText(task);
    cells[4].replaceChildren(moment(task.started_at));
    cells[6].textContent = task.attempt;
  }
  bar.value = task.progress;
  figure.textContent = progressText(task);
  cells[5].textContent = task.started_at ? duration(task.elapsed_seconds) : "";
  seen.task = task;
  return seen.element;
}

const matches = (task) => !filter.text || [task.operation_id, task.task_type, task.message, task.error?.message, JSON.stringify(task.metadata)]
  .some((text) => text?.toLowerCase().includes(filter.text.toLowerCase()));

function draw() {
  const shown = [...order, ...older].filter((task, i, all) => all.findIndex((each) => each.operation_id === task.operation_id) === i && matches(task));
  const ids = new Set(shown.map((task) => task.operation_id)), body = byId("rows");
  for (const [id, { element }] of rows) {
    if (!ids.has(id)) {
      element.remove();
      rows.delete(id);
    }
  }
  shown.forEach((task, i) => {
    const element = row(task);
    if (body.children[i] !== element) body.insertBefore(element, body.children[i] ?? null);
  });
  byId("empty").hidden = shown.length > 0;
  byId("older").hidden = !olderCursor;
  mark();
}

function mark() {
  for (const [id, { element }] of rows) element.classList.toggle("open", id === view?.id);
}

const path = (cursor) => `/tasks?${new URLSearchParams(Object.entries({ status: filter.status, task_type: filter.type, limit: PAGE, cursor }).filter(([, v]) => v))}`;

function drawStatuses(counts) {
  byId("statuses").replaceChildren(...["", ...STATUSES].map((status) => {
    const count = counts ? status ? counts[status] : Object.values(counts).reduce((a, b) => a + b, 0) : null;
    return make("button", {
      ariaPressed: String(filter.status === status),
      onclick: () => { filter.status = status; refilter(); },
    }, `${status ? statusText(status) : "all"}${count === null ? "" : ` ${count.toLocaleString()}`}`);
  }));
}

function refilter() {
  order = older = [];
  olderCursor = undefined;
  go(view ? `/ui/tasks/${view.id}` : "/ui");
}

async function keepList() {
  let known = "";
  for (;;) {
    const asked = path();
    try {
      // The counts are of all owners, so they are shown only where there is one.
      const [page, health] = await Promise.all([get(asked), hasKey() ? null : get("/health")]);
      if (asked === path()) {
        order = page.operations;
        if (older.length === 0) olderCursor = page.next_cursor;
        const now = JSON.stringify([health?.tasks, filter.status]);
        if (now !== known) drawStatuses(health?.tasks);
        known = now;
        draw();
        if (byId("state").textContent.startsWith("The list")) say("");
      }
    } catch (error) {
      if (error instanceof Refused && error.status === 401) await keyDialog(error.message);
      else say(`The list is as it was at ${new Date().toLocaleTimeString()}: ${error instanceof Refused ? error.message : "the server is away"}`);
      await pause(1000);
    }
    const stop = new AbortController();
    wake = () => stop.abort();
    await pause(document.hidden ? 60_000 : INTERVAL, stop.signal);
  }
}

byId("older").onclick = async () => {
  const page = await get(path(olderCursor));
  older = [...older, ...page.operations];
  olderCursor = page.next_cursor;
  draw();
};

// Dialogs.

function dialog(title, parts, submit, label) {
  const box = byId("dialog"), say = make("p", { role: "alert" });
  return new Promise((resolve) => {
    const done = async () => {
      try {
        const value = await submit();
        if (value === null) return;
        box.close();
        resolve(value);
      } catch (error) {
        say.textContent = error.message;
      }
    };
    const form = make("form", { onsubmit: (event) => { event.preventDefault(); done(); } }, make("h2", {}, title), ...parts, say,
      make("div", { className: "line" }, make("button", { className: "primary" }, label), make("button", { type: "button", onclick: () => box.close() }, "Close")));
    box.ariaLabel = title;
    box.onclose = () => resolve(null);
    box.replaceChildren(form);
    if (!box.open) box.showModal();
  });
}

async function keyDialog(message) {
  const input = make("input", { type: "password", required: true, autocomplete: "off" });
  await dialog("A key is needed", [make("p", {}, message), make("label", { className: "field" }, "Key, kept for this tab only", input)], async () => {
    setKey(input.value.trim());
    return true;
  }, "Use it");
  await loadTypes().catch(() => {});
}

async function startDialog(name) {
  if (types.length === 0) await loadTypes();
  const select = make("select", { ariaLabel: "Task type" }, ...types.map((type) => make("option", { value: type.name, selected: type.name === name }, type.name)));
  const fields = make("div");
  let read;
  const choose = () => {
    const type = types.find((each) => each.name === select.value);
    const form = schemaForm(type?.input_schema ?? {}, JSON.parse(localStorage.getItem(`longtasks-last:${type?.name}`) ?? "{}"));
    read = form.read;
    fields.replaceChildren(make("p", {}, type?.description ?? ""), ...form.labels);
  };
  select.onchange = choose;
  choose();
  const id = await dialog("Start a task", [select, fields], async () => {
    const content = read();
    if (content === null) return null;
    localStorage.setItem(`longtasks-last:${select.value}`, JSON.stringify(content));
    return (await post("/tasks", { task_type: select.value, arguments: content })).operation_id;
  }, "Start");
  if (id) go(`/ui/tasks/${id}`);
}

async function loadTypes() {
  types = (await get("/task-types")).task_types;
  byId("type").replaceChildren(make("option", { value: "" }, "all"), ...types.map((type) => make("option", { value: type.name }, type.name)));
  byId("type").value = filter.type;
}

function help() {
  const keys = [["/", "search"], ["↓ ↑ or j k", "next, previous task"], ["n", "start a task"], ["Esc", "close the task"], ["?", "this help"]];
  dialog("Keys", [make("dl", {}, ...keys.flatMap(([key, what]) => [make("dt", {}, key), make("dd", {}, what)]))], async () => true, "Good");
}

// Input.

byId("start").onclick = () => startDialog();
byId("type").onchange = (event) => { filter.type = event.target.value; refilter(); };
byId("search").oninput = (event) => {
  filter.text = event.target.value;
  history.replaceState(null, "", address(view ? `/ui/tasks/${view.id}` : "/ui"));
  draw();
};

function step(by) {
  const links = [...document.querySelectorAll("#rows a")], index = links.indexOf(document.activeElement);
  links[Math.min(Math.max(index + by, 0), links.length - 1)]?.focus();
}

addEventListener("keydown", (event) => {
  if (byId("dialog").open || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return go("/ui");
  if (event.target.closest("input, select, textarea")) return;
  const act = {
    "/": () => byId("search").focus(), "?": help, n: () => startDialog(), ArrowDown: () => step(1), ArrowUp: () => step(-1),
    j: () => step(1), k: () => step(-1),
  }[event.key];
  // Arrows scroll a focused output.
  if (!act || event.target.tagName === "PRE") return;
  event.preventDefault();
  act();
});

addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !link.pathname.startsWith(`${root}/ui`) || link.hash || link.protocol === "blob:") return;
  event.preventDefault();
  go(link.pathname.slice(root.length));
});

addEventListener("popstate", show);
document.addEventListener("visibilitychange", () => wake());
drawStatuses(null);
show();
loadTypes().then(show).catch(() => {});
keepList();
