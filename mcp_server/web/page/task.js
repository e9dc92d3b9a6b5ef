// One task: its state, what it says while it runs, its questions and what may be done with it.

import { at, events, get, pause, post, root } from "./api.js";
import { duration, json, make, messageText, moment, pill, progressText, schemaForm, statusText } from "./dom.js";

const ENDED = ["completed", "failed", "cancelled"];
const MAX_OUTPUT = 200_000;
const MAX_TURNS = 200;

export class TaskView {
  constructor(id, box, { go, again, lost }) {
    Object.assign(this, { id, box, go, again, lost, output: "", turns: [], isDrawn: false });
    this.aborted = new AbortController();
    this.top = make("div");
    this.forms = make("div");
    this.log = make("pre", { tabIndex: 0, ariaLabel: "Output", hidden: true });
    this.turnList = make("ol", { className: "turns" });
    this.bottom = make("div");
    this.say = make("p", { role: "status", className: "say" });
    box.replaceChildren(this.top, this.say, this.forms, this.log, make("h3", {}, "Course"), this.turnList, this.bottom);
    this.run();
  }

  close() {
    this.aborted.abort();
  }

  async run() {
    try {
      await this.load();
      for await (const frame of events(this.id, this.aborted.signal, this.lost)) this.take(frame);
      if (!this.aborted.signal.aborted) await this.load();
    } catch (error) {
      if (this.aborted.signal.aborted) return;
      this.box.replaceChildren(make("p", { role: "alert" }, error.message), this.button("Close", "", () => this.go("/ui")));
    }
  }

  async load() {
    const shown = await get(at(this.id), { signal: this.aborted.signal });
    // A state older than what the stream has said already is not shown.
    if (!this.shown || shown.last_event_id >= this.shown.last_event_id) this.draw(shown);
  }

  take({ id, name, data }) {
    // The log from its beginning: what the loaded state has in it already is told, and changes it no more.
    const isNews = id === null ? !ENDED.includes(this.shown.status) : Number(id) > this.shown.last_event_id;
    if (name === "progress") {
      if (isNews) Object.assign(this.shown, data);
    } else if (name === "output") {
      const text = typeof data.data === "string" ? data.data : `${data.topic ? `${data.topic}: ` : ""}${JSON.stringify(data.data)}\n`;
      this.output = (this.output + text).slice(-MAX_OUTPUT);
    } else {
      if (name === "status" && data.reason !== "checkpoint") this.turn(data.reason, data.reason === "started" ? `attempt ${data.attempt}` : data.message);
      else if (name === "input_required") this.turn("asked", Object.values(data.input_requests)[0]?.params?.message);
      else if (name === "gap") this.turn("gap", "older events are no longer kept");
      else if (name === "done") this.turn(data.status, data.reason);
      else if (name === "error") this.turn("failed", data.error);
      if (isNews && data.reason !== "checkpoint") this.loadSoon();
    }
    this.redraw ??= requestAnimationFrame(() => {
      this.redraw = undefined;
      this.drawLive();
    });
  }

  turn(what, more) {
    this.turns = [...this.turns, [statusText(what), more ?? ""]].slice(-MAX_TURNS);
  }

  async loadSoon() {
    if (this.isLoading) return;
    this.isLoading = true;
    await pause(100, this.aborted.signal);
    this.isLoading = false;
    if (!this.aborted.signal.aborted) this.load().catch(() => {}); // the stream tells when the server is away
  }

  drawLive() {
    if (!this.isDrawn) return;
    this.bar.value = this.shown.progress;
    this.figure.textContent = progressText(this.shown);
    this.message.textContent = messageText(this.shown);
    if (this.drawnOutput !== this.output) {
      const follows = this.log.scrollTop + this.log.clientHeight > this.log.scrollHeight - 30;
      this.log.textContent = this.drawnOutput = this.output;
      this.log.hidden = !this.output;
      if (follows) this.log.scrollTop = this.log.scrollHeight;
    }
    if (this.drawnTurns !== this.turns) {
      this.drawnTurns = this.turns;
      this.turnList.replaceChildren(...this.turns.map(([what, more]) => make("li", {}, make("b", {}, what), ` ${more}`)));
    }
  }

  button(label, className, act) {
    return make("button", {
      type: "button", className,
      onclick: async (event) => {
        const { target } = event;
        target.disabled = true;
        try {
          await act();
        } catch (error) {
          this.say.textContent = error.message;
        } finally {
          target.disabled = false;
        }
      },
    }, label);
  }

  draw(shown) {
    const before = this.shown?.status;
    this.shown = shown;
    this.isDrawn = true;
    if (before && before !== shown.status) this.say.textContent = `The task is now ${statusText(shown.status)}.`;
    this.bar = make("progress", { max: 100, value: shown.progress, ariaLabel: "Progress" });
    this.figure = make("span", { className: "figure" }, progressText(shown));
    this.message = make("p", { className: "message", hidden: shown.error !== null }, messageText(shown));
    const isLive = !ENDED.includes(shown.status);
    this.top.replaceChildren(...[
      make("div", { className: "line" }, make("h2", {}, shown.task_type), pill(shown.status), make("span", { className: "grow" }),
        isLive ? this.button("Cancel", "danger", () => this.cancel()) : null,
        ["failed", "cancelled"].includes(shown.status) ? this.button("Retry", "primary", () => this.retry()) : null,
        this.button("Start again", "", () => this.again(shown.task_type)),
        this.button("Copy as curl", "", () => this.copy()),
        this.button("Close", "", () => this.go("/ui"))),
      make("div", { className: "line" }, this.bar, this.figure),
      this.message,
      shown.error ? make("div", { className: "failure" }, make("b", {}, shown.error.error_code), ` ${shown.error.message}`) : null,
      shown.error?.details && Object.keys(shown.error.details).length ? json(shown.error.details, "details") : null,
    ].filter(Boolean));
    this.drawQuestions(shown);
    const facts = [
      ["Id", shown.operation_id], ["Created", moment(shown.created_at)], ["Started", moment(shown.started_at)],
      ["Ended", moment(shown.completed_at)], ["Took", shown.started_at ? duration(shown.elapsed_seconds) : ""],
      ["Attempt", String(shown.attempt)], ["Interruptions", shown.interruptions ? String(shown.interruptions) : ""],
      ["In the queue", shown.queue_position === null ? "" : `${shown.queue_position} ahead`],
      ["Retry of", shown.retry_of ? make("a", { href: `${root}/ui/tasks/${shown.retry_of}` }, shown.retry_of) : ""],
      ["Kept until", moment(shown.expires_at)],
    ].filter(([, value]) => value !== "");
    this.bottom.replaceChildren(...[
      ...(shown.status === "completed" ? [make("h3", {}, "Result"), json(shown.output, "result")] : []),
      ...(Object.keys(shown.metadata).length ? [make("h3", {}, "Metadata"), json(shown.metadata, "metadata")] : []),
      make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    ]);
    this.drawLive();
  }

  drawQuestions(shown) {
    const keys = Object.keys(shown.input_requests).join("\n");
    if (keys === this.drawnKeys) return; // a form that is being filled in stays
    this.drawnKeys = keys;
    this.forms.replaceChildren(...Object.entries(shown.input_requests).map(([key, { params }]) => {
      const { labels, read } = schemaForm(params.requestedSchema ?? {});
      const reply = async (response) => {
        await post(at(this.id, "/answers"), { responses: { [key]: response } });
        this.loadSoon();
      };
      return make("fieldset", {}, make("legend", {}, params.message), ...labels, make("div", { className: "line" },
        this.button("Answer", "primary", async () => {
          const content = read();
          if (content) await reply({ action: "accept", content });
        }),
        this.button("Decline", "", () => reply({ action: "decline" }))));
    }));
  }

  async cancel() {
    const reason = prompt("Why is it cancelled? (may stay empty)");
    if (reason === null) return;
    await post(at(this.id, "/cancel"), reason ? { reason } : {});
    this.loadSoon();
  }

  async retry() {
    this.go(`/ui/tasks/${(await post(at(this.id, "/retry"))).operation_id}`);
  }

  async copy() {
    await navigator.clipboard.writeText(`curl -N ${location.origin}${root}${at(this.id, "/stream")}`);
    this.say.textContent = "Copied.";
  }
}
