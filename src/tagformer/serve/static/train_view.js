// The loop: train again on the answers in the background, compare the two models, take the new one or not.

import { get, post, showingProblems } from "./api.js";
import { byId, element, toast } from "./dom.js";
import { session } from "./session.js";

const EVERY = 1500; // milliseconds between two looks at a training

const figure = (value) => value === null ? "–" : interval(value);
const interval = ([mean, low, high]) => `${(100 * mean).toFixed(1)} (${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)})`;

export class TrainView {
  constructor() {
    byId("train-start").addEventListener("click", () => this.#start());
    byId("train-stop").addEventListener("click", () => this.#send("train/stop"));
    byId("train-take").addEventListener("click", () => this.#take());
    byId("train-leave").addEventListener("click", () => this.#send("train/leave"));
    session.addEventListener("progress", () => this.#answers());
  }

  async load() {
    clearTimeout(this.timer);
    const state = await showingProblems(() => get("train"));
    if (!state) return;
    this.#draw(state);
    if (state.status === "running") this.timer = setTimeout(() => this.load(), EVERY);
  }

  #answers() {
    byId("train-answers").textContent = `${session.progress.answers} answers on ${session.progress.answered} images`;
  }

  #draw(state) {
    this.#answers();
    const status = state.status;
    byId("train-start").disabled = status === "running" || !state.can_start;
    byId("train-why").textContent = state.why ?? "";
    byId("train-running").hidden = status !== "running";
    byId("train-stop").hidden = status !== "running";
    byId("train-failed").hidden = status !== "failed";
    byId("train-failed").textContent = state.error ?? "";
    byId("train-compared").hidden = status !== "compared";
    if (status === "running") {
      byId("train-bar").value = state.share ?? 0;
      byId("train-title").textContent = state.title || "Starting";
    }
    if (state.lines) byId("train-log").textContent = state.lines.join("\n");
    if (status !== "compared") return;
    const { before, after, difference, images, verdict } = state.comparison;
    byId("train-verdict").textContent = verdict;
    byId("train-rows").replaceChildren(
      ...[["The model in use", before], ["The new model", after], ["Difference", difference]].map(([name, value]) =>
        element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "number" }, figure(value)))));
    byId("train-images").textContent = `mAP in %, with 95 % intervals, on ${images}.`;
  }

  async #start() {
    const minutes = Number(byId("train-minutes").value) || 2;
    await this.#send("train", { minutes });
  }

  async #take() {
    await this.#send("train/take");
    await session.load();
    toast("The new model is in use. The one before stays in its folder.");
  }

  async #send(path, content = {}) {
    if (await showingProblems(() => post(path, content))) await this.load();
  }
}
