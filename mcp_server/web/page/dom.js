// Elements, times and forms. Text is only ever set as text, so nothing that a task says can become markup.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

export function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return seconds < 86400 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} d`;
}

const today = new Intl.DateTimeFormat([], { timeStyle: "medium" });
const another = new Intl.DateTimeFormat([], { dateStyle: "short", timeStyle: "short" });

export function moment(stamp) {
  if (!stamp) return "";
  const at = new Date(stamp);
  const format = at.toDateString() === new Date().toDateString() ? today : another;
  return make("time", { dateTime: stamp, title: stamp }, format.format(at));
}

export const statusText = (status) => status.replace("_", " ");
export const pill = (status) => make("span", { className: `pill ${status}` }, statusText(status));

export function progressText(task) {
  const percent = `${Math.floor(task.progress)} %`;
  if (task.status === "input_required") return `${percent}, asks`;
  const left = task.estimated_remaining;
  return left && task.status === "running" ? `${percent}, about ${duration(left)} left` : percent;
}

export function messageText(task) {
  const stage = task.stage?.name;
  return stage ? `${stage}: ${task.message}` : task.message;
}

export function json(value, label) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const block = make("pre", { tabIndex: 0, ariaLabel: label }, text.slice(0, 20_000));
  if (text.length <= 20_000) return block;
  const file = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  return make("div", {}, block, make("a", { href: file, download: `${label}.json` }, `All of it, ${text.length} characters`));
}

// Forms from a JSON Schema object: a control for each property, JSON for what has no control of its own.

const NUMBERS = ["number", "integer"];

function plain(schema, root) {
  if (schema.$ref?.startsWith("#/$defs/")) return plain(root.$defs?.[schema.$ref.slice(8)] ?? {}, root);
  const others = schema.anyOf?.filter((each) => each.type !== "null");
  return others?.length === 1 ? { ...schema, ...plain(others[0], root), anyOf: undefined } : schema;
}

function control(schema, value, required) {
  const choices = schema.enum ?? schema.oneOf?.map((each) => each.const);
  if (choices && choices.every((each) => typeof each === "string")) {
    const titles = schema.enumNames ?? schema.oneOf?.map((each) => each.title) ?? choices;
    const options = choices.map((each, i) => make("option", { value: each, selected: each === value }, titles[i] ?? each));
    return make("select", { required }, ...(required ? [] : [make("option", { value: "" }, "")]), ...options);
  }
  if (schema.type === "boolean") return make("input", { type: "checkbox", checked: value === true });
  if (NUMBERS.includes(schema.type)) {
    const step = schema.type === "integer" ? "1" : "any";
    const input = make("input", { type: "number", step, required, value: value ?? "" });
    if (schema.minimum !== undefined) input.min = schema.minimum;
    if (schema.maximum !== undefined) input.max = schema.maximum;
    return input;
  }
  if (schema.type === "string") {
    const input = make("input", { type: "text", required, value: value ?? "" });
    if (schema.maxLength) input.maxLength = schema.maxLength;
    return input;
  }
  return make("textarea", { rows: 3, required, placeholder: "JSON", value: value === undefined ? "" : JSON.stringify(value) });
}

export function schemaForm(schema, values = {}) {
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties ?? {}).map(([name, given]) => {
    const part = plain(given, schema);
    const input = control(part, values[name] ?? part.default, required.has(name) && part.type !== "boolean");
    return { name, part, input };
  });
  const labels = fields.map(({ name, part, input }) =>
    make("label", { className: "field" }, `${part.title ?? name}${input.required ? " *" : ""}`, input,
      part.description ? make("small", {}, part.description) : null));
  const read = () => {
    const content = {};
    for (const { name, part, input } of fields) {
      input.setCustomValidity("");
      if (!input.reportValidity()) return null;
      if (input.type === "checkbox") content[name] = input.checked;
      else if (input.value === "") continue;
      else if (NUMBERS.includes(part.type)) content[name] = Number(input.value);
      else if (input.tagName === "TEXTAREA") {
        try {
          content[name] = JSON.parse(input.value);
        } catch (error) {
          input.setCustomValidity(`This is not JSON: ${error.message}`);
          input.reportValidity();
          return null;
        }
      } else content[name] = input.value;
    }
    return content;
  };
  return { labels, read };
}
