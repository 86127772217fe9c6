// The labels of one image: answers first, then what the model ranks; one row is current, and its keys are yes, no, unknown.

import { element, icon, percent } from "./dom.js";
import { NO, session, UNKNOWN, YES } from "./session.js";

const RANKED = 60; // rows without an answer; any other label is a few letters away
const MOVED = 0.05; // from this change of a probability on it is shown

export class LabelList {
  current = null; // index of a label
  #rows = new Map();
  #before = null;

  /** `answer(label, state)`, `look(label or null)`: what a row does. */
  constructor(list, { answer, look }) {
    Object.assign(this, { list, answer, look });
    list.addEventListener("pointerleave", () => look(null));
  }

  /** Show an image's probabilities and states; the movement since `before` is marked. */
  show(image, { group = "", keepCurrent = false } = {}) {
    this.image = image;
    this.group = group;
    const { probabilities, known } = image;
    const wanted = (label) => !group || label.group === group;
    const answered = session.labels.filter((label) => label.index in known && wanted(label));
    answered.sort((a, b) => known[b.index] - known[a.index] || a.name.localeCompare(b.name));
    const open = session.labels.filter((label) => !(label.index in known) && !label.extra && wanted(label));
    open.sort((a, b) => probabilities[b.index] - probabilities[a.index]);
    const extra = session.labels.filter((label) => !(label.index in known) && label.extra && wanted(label));
    const ranked = open.slice(0, RANKED);
    const asked = image.suggestions[0]?.label;
    if (asked !== undefined && !(asked in known) && !ranked.some((l) => l.index === asked) && !session.labels[asked].extra) {
      ranked.push(session.labels[asked]);
    }
    const shown = [...answered, ...ranked, ...extra.slice(0, RANKED)];
    if (!keepCurrent || !shown.some((label) => label.index === this.current)) this.current = asked ?? ranked[0]?.index ?? null;
    const rows = new Map(shown.map((label) => [label.index, this.#row(label, asked)]));
    this.#rows = rows;
    const heading = (text) => element("li", { class: "heading" }, text);
    this.list.replaceChildren(
      ...(answered.length ? [heading("Answered"), ...answered.map((l) => rows.get(l.index))] : []),
      ...(ranked.length ? [heading("The model's ranking"), ...ranked.map((l) => rows.get(l.index))] : []),
      ...(open.length > ranked.length ? [element("li", { class: "faint rest" }, `and ${open.length - ranked.length} less probable labels: type to find them`)] : []),
      ...(extra.length ? [heading("Extra labels: they help the others"), ...extra.slice(0, RANKED).map((l) => rows.get(l.index))] : []),
    );
    this.#before = [...probabilities];
    this.#mark();
  }

  /** The labels that moved most from the last probabilities, [[label, from, to], ...]. */
  moved(probabilities, except) {
    if (!this.#before) return [];
    return probabilities
      .map((to, index) => [index, this.#before[index], to])
      .filter(([index, from, to]) => Math.abs(to - from) >= MOVED && index !== except && !(index in this.image.known))
      .sort((a, b) => Math.abs(b[2] - b[1]) - Math.abs(a[2] - a[1]))
      .slice(0, 3);
  }

  step(by) {
    const order = [...this.list.querySelectorAll("[data-label]")].map((row) => Number(row.dataset.label));
    const place = order.indexOf(this.current);
    this.current = order[Math.min(order.length - 1, Math.max(0, place + by))] ?? null;
    this.#mark(true);
    this.look(this.current);
  }

  choose(label) {
    this.current = label;
    this.#mark(true);
  }

  #mark(visible = false) {
    for (const [index, row] of this.#rows) {
      row.classList.toggle("current", index === this.current);
      if (index === this.current) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    if (visible) this.#rows.get(this.current)?.scrollIntoView({ block: "nearest" });
  }

  #row(label, asked) {
    const { probabilities, known, implied, heat = true } = this.image;
    const state = known[label.index] ?? UNKNOWN;
    const probability = probabilities[label.index];
    const from = this.#before && state === UNKNOWN ? this.#before[label.index] : probability;
    const change = probability - from;
    const button = (value, name, sign) => element("button", {
      class: `state ${sign}`, "aria-pressed": String(state === value), "aria-label": `${label.name}: ${name}`,
      onclick: () => this.answer(label.index, state === value ? UNKNOWN : value),
    }, icon(sign));
    return element("li", {
      class: `label${state === YES ? " is-yes" : state === NO ? " is-no" : ""}${probability >= label.threshold && state === UNKNOWN ? " predicted" : ""}`,
      dataset: { label: label.index },
      onpointerenter: () => heat && this.look(label.index),
      onclick: (event) => event.target.closest("button") || this.choose(label.index),
    },
    element("span", { class: "name" }, label.name,
      label.index === asked ? element("span", { class: "badge" }, "ask next") : null,
      implied?.includes(label.index) ? element("span", { class: "badge" }, "from the tree") : null),
    Math.abs(change) >= MOVED
      ? element("span", { class: change > 0 ? "up" : "down" }, `${change > 0 ? "▲" : "▼"} ${Math.round(100 * Math.abs(change))}`)
      : element("span"),
    state === UNKNOWN
      ? element("span", { class: "bar", style: { "--share": probability, "--threshold": label.threshold } }, element("span", { class: "number" }, percent(probability)))
      : element("span", { class: "bar answered" }, state === YES ? "yes" : "no"),
    button(YES, "yes", "yes"), button(NO, "no", "no"));
  }
}
