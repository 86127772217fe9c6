// Type-ahead over all labels: own tags first, then as the model ranks them; Enter takes the first.

import { element, percent } from "./dom.js";
import { session, YES } from "./session.js";

const SHOWN = 50; // of any number of matches

/** Labels whose name contains the text: those that begin with it first, own tags before others, then by probability. */
export function matches(text, probabilities, own) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const rank = (label) => {
    const place = label.search.indexOf(wanted);
    if (place < 0) return null;
    const begins = place === 0 ? 0 : /[\s/_-]/.test(label.search[place - 1]) ? 1 : 2;
    return [own.has(label.index) ? 0 : 1, begins, -(probabilities?.[label.index] ?? 0)];
  };
  return session.labels
    .map((label) => [rank(label), label])
    .filter(([place]) => place)
    .sort(([a], [b]) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
    .map(([, label]) => label);
}

export class TypeAhead {
  #found = [];
  #active = 0;
  #count = 0;

  /** `state()` gives { probabilities, known, own }; `take(label)` is called with the label that was taken. */
  constructor(input, list, state, take) {
    Object.assign(this, { input, list, state, take });
    input.addEventListener("input", () => this.#update());
    input.addEventListener("keydown", (event) => this.#onKey(event));
    input.addEventListener("blur", () => setTimeout(() => this.#close(), 150));
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  #update() {
    const { probabilities, own } = this.state();
    const all = matches(this.input.value, probabilities, own);
    this.#found = all.slice(0, SHOWN);
    this.#active = 0;
    this.#count = all.length;
    this.#draw();
  }

  #draw() {
    const count = this.#count;
    const { probabilities, known } = this.state();
    this.list.replaceChildren(...this.#found.map((label, place) => {
      const state = known?.[label.index];
      return element("li", {
        id: `match-${place}`, role: "option", "aria-selected": String(place === this.#active),
        onmousedown: (event) => (event.preventDefault(), this.#take(label)),
      },
      element("span", { class: "name" }, label.name),
      label.group ? element("span", { class: "faint" }, label.group) : null,
      element("span", { class: "number" }, state === undefined ? (probabilities ? percent(probabilities[label.index]) : "") : state === YES ? "yes" : "no"));
    }));
    if (count > SHOWN) this.list.append(element("li", { class: "faint", role: "presentation" }, `and ${count - SHOWN} more: type on`));
    if (!count && this.input.value.trim()) {
      this.list.append(element("li", { class: "faint", role: "presentation" }, `No label contains “${this.input.value.trim()}”.`));
    }
    const open = this.list.childElementCount > 0;
    this.list.hidden = !open;
    this.input.setAttribute("aria-expanded", String(open));
    if (this.#found.length) this.input.setAttribute("aria-activedescendant", `match-${this.#active}`);
    else this.input.removeAttribute("aria-activedescendant");
    this.list.children[this.#active]?.scrollIntoView({ block: "nearest" });
  }

  #onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.#found.length) {
      event.preventDefault();
      this.#active = (this.#active + step + this.#found.length) % this.#found.length;
      this.#draw();
    } else if (event.key === "Enter" && this.#found.length) {
      event.preventDefault();
      this.#take(this.#found[this.#active]);
    } else if (event.key === "Escape") {
      this.#close();
      this.input.value = "";
      this.input.blur();
    }
  }

  #take(label) {
    this.input.value = "";
    this.#close();
    this.take(label);
  }

  #close() {
    this.#found = [];
    this.list.hidden = true;
    this.list.replaceChildren();
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
}
