// Where a person's answer and the model disagree most: each is confirmed or corrected with one key.

import { get, showingProblems } from "./api.js";
import { byId, element, percent } from "./dom.js";
import { command } from "./keys.js";
import { NO, ownName, session, UNKNOWN, YES } from "./session.js";

export class MistakesView {
  found = [];
  current = 0;

  constructor(open) {
    this.open = open;
    this.list = byId("mistakes-list");
    const add = (name, title, key, run) => command(`mistakes-${name}`, title, key, run, "mistakes");
    add("down", "Next answer", "ArrowDown", () => this.step(1));
    add("up", "Previous answer", "ArrowUp", () => this.step(-1));
    add("fix", "The model is right: change the answer", "f", () => this.fix(this.current));
    add("keep", "The answer is right: keep it", "k", () => this.keep(this.current));
    add("unknown", "Take the answer back", "u", () => this.fix(this.current, UNKNOWN));
    add("open", "Open the image", "Enter", () => this.found[this.current] && this.open(this.found[this.current].image));
  }

  async load() {
    await session.settled;
    const reply = await showingProblems(() => get(`mistakes?person=${encodeURIComponent(session.person)}`));
    if (!reply) return;
    this.found = reply.mistakes;
    this.compared = reply.compared;
    this.current = 0;
    this.#draw();
  }

  #draw() {
    byId("mistakes-empty").hidden = this.found.length > 0;
    byId("mistakes-empty").textContent = this.compared
      ? `The model agrees with all ${this.compared} answers that could be compared.`
      : "There is nothing to compare yet: answer some labels first. The model is asked without any answer.";
    this.list.replaceChildren(...this.found.map((mistake, place) => {
      const label = session.labels[mistake.label];
      const answered = mistake.state === YES ? "yes" : "no";
      return element("li", { class: "mistake", dataset: { place }, onclick: (event) => event.target.closest("button, a") || this.step(place - this.current) },
        element("img", { src: `/page/thumbnails/${mistake.image}`, alt: "", width: 112, height: 112, loading: "lazy" }),
        element("div", {},
          element("p", { class: "claim" }, element("b", {}, label.name), ": answered ", element("b", { class: answered }, answered),
            `, the model says ${percent(mistake.probability)}`),
          element("p", { class: "faint" }, `${mistake.name} · ${ownName(mistake.person) || "a guest"}`),
          element("p", { class: "buttons" },
            element("button", { class: "small primary", onclick: () => this.fix(place) }, mistake.state === YES ? "Change to no" : "Change to yes"),
            element("button", { class: "small", onclick: () => this.keep(place) }, "Keep"),
            element("button", { class: "small plain", onclick: () => this.open(mistake.image) }, "Open"))));
    }));
    this.#mark();
  }

  #mark() {
    [...this.list.children].forEach((row, place) => {
      row.classList.toggle("current", place === this.current);
      if (place === this.current) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    });
  }

  step(by) {
    this.current = Math.min(this.found.length - 1, Math.max(0, this.current + by));
    this.#mark();
    this.list.children[this.current]?.scrollIntoView({ block: "nearest" });
  }

  async fix(place, state = null) {
    const mistake = this.found[place];
    if (!mistake) return;
    const other = state ?? (mistake.state === YES ? NO : YES);
    if (await session.answer([[mistake.image, mistake.label, other]])) this.#remove(place);
  }

  /** Answering the same again says that it was looked at: it is not shown again. */
  async keep(place) {
    const mistake = this.found[place];
    if (mistake && (await session.confirm(mistake.image, mistake.label, mistake.state))) this.#remove(place);
  }

  #remove(place) {
    this.found.splice(place, 1);
    this.current = Math.min(place, Math.max(0, this.found.length - 1));
    this.#draw();
  }
}
