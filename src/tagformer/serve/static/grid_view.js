// Many images at once: rows that are made only where they are seen, a selection, and one answer for all of it.

import { get, newestOnly, showingProblems } from "./api.js";
import { byId, element, icon, percent, say, toast } from "./dom.js";
import { command } from "./keys.js";
import { NO, session, STATE_NAMES, UNKNOWN, YES } from "./session.js";
import { selectByPointer } from "./pointer_selection.js";
import { TypeAhead } from "./type_ahead.js";

const PAGE = 200; // images per request
const fetchOrder = newestOnly((query, options) => get(`images?${query}`, options));

export class GridView {
  images = []; // keys in the order of the filter
  items = new Map(); // key -> { name, done, known, top, value }
  selected = new Set();
  cursor = 0;
  label = null; // to which the keys answer
  anchor = 0;
  #loading = new Set();
  #cells = new Map();

  constructor(open) {
    this.open = open;
    this.box = byId("tiles");
    this.space = byId("tiles-space");
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.#layout()).observe(this.box);
    for (const name of ["filter-state", "sort", "least", "most"]) byId(name).addEventListener("change", () => this.load());
    this.typeAhead = new TypeAhead(byId("grid-find"), byId("grid-matches"), () => ({ probabilities: null, own: new Set() }),
      (label) => this.choose(label));
    byId("grid-label-clear").addEventListener("click", () => this.choose(null));
    for (const [id, state] of [["all-yes", YES], ["all-no", NO], ["all-unknown", UNKNOWN]]) {
      byId(id).addEventListener("click", () => this.answer(state));
    }
    byId("select-all").addEventListener("click", () => this.selectAll());
    byId("select-none").addEventListener("click", () => this.select([]));
    byId("select-alike").addEventListener("click", () => this.alike());
    session.addEventListener("answers", ({ detail }) => this.#onAnswers(detail));
    selectByPointer(this);
    this.#commands();
  }

  #commands() {
    const add = (name, title, key, run) => command(`grid-${name}`, title, key, run, "grid");
    const steps = [["left", "to the left", "ArrowLeft", () => -1], ["right", "to the right", "ArrowRight", () => 1],
      ["up", "above", "ArrowUp", () => -this.columns], ["down", "below", "ArrowDown", () => this.columns]];
    for (const [name, where, key, by] of steps) {
      add(name, `Image ${where}`, key, () => this.move(by()));
      add(`${name}-select`, `Select also those ${where}`, `Shift+${key}`, () => this.move(by(), true));
    }
    add("toggle", "Select the image or not", " ", () => this.toggle(this.cursor));
    add("all", "Select all images of the filter", "Control+a", () => this.selectAll());
    add("none", "Select nothing", "Escape", () => this.select([]));
    add("alike", "Select images like this one", "l", () => this.alike());
    add("find", "Choose the label", "/", () => this.typeAhead.focus());
    add("yes", "Label: yes for the selection", "y", () => this.answer(YES));
    add("no", "Label: no for the selection", "n", () => this.answer(NO));
    add("unknown", "Label: unknown for the selection", "u", () => this.answer(UNKNOWN));
    add("done", "Selection is done", "d", () => this.submit());
    add("open", "Open the image", "Enter", () => this.open(this.images[this.cursor]));
  }

  choose(label) {
    this.label = label?.index ?? null;
    byId("grid-label").hidden = this.label === null;
    byId("grid-label-name").textContent = label?.name ?? "";
    for (const id of ["all-yes", "all-no", "all-unknown"]) byId(id).disabled = this.label === null;
    byId("filter-state").disabled = this.label === null;
    this.#cells.clear();
    this.box.focus({ preventScroll: true }); // the next key is an answer
    return this.load();
  }

  #query() {
    const query = new URLSearchParams({ sort: byId("sort").value, person: session.person });
    if (this.label !== null) {
      query.set("label", this.label);
      query.set("state", byId("filter-state").value);
      query.set("least", byId("least").value / 100);
      query.set("most", byId("most").value / 100);
    } else if (byId("filter-state").value === "open") query.set("state", "open");
    return query;
  }

  async load() {
    const query = this.#query();
    query.set("limit", PAGE);
    byId("range").hidden = this.label === null;
    byId("least-shown").textContent = `${byId("least").value} %`;
    byId("most-shown").textContent = `${byId("most").value} %`;
    await session.settled;
    const reply = await showingProblems(() => fetchOrder(query));
    if (!reply) return;
    this.images = reply.images;
    this.items = new Map(reply.items.map((item) => [item.key, item]));
    this.#loading.clear();
    const there = new Set(this.images);
    this.selected = new Set([...this.selected].filter((image) => there.has(image)));
    this.cursor = Math.min(this.cursor, Math.max(0, this.images.length - 1));
    this.box.scrollTop = 0;
    this.#layout();
    this.#count();
  }

  async #fetch(from) {
    const page = Math.floor(from / PAGE);
    if (this.#loading.has(page)) return;
    this.#loading.add(page);
    const keys = this.images.slice(page * PAGE, (page + 1) * PAGE).filter((image) => !this.items.has(image));
    if (!keys.length) return;
    const label = this.label === null ? "" : `&label=${this.label}`;
    const reply = await showingProblems(() => get(`items?keys=${keys.join(",")}${label}`));
    for (const item of reply?.items ?? []) this.items.set(item.key, item);
    this.draw();
  }

  #layout() {
    if (!this.box.clientWidth) return;
    const least = this.box.clientWidth < 560 ? 104 : 148, gap = 8;
    this.columns = Math.max(2, Math.floor((this.box.clientWidth - gap) / (least + gap)));
    this.side = (this.box.clientWidth - gap * (this.columns + 1)) / this.columns;
    this.height = this.side + 26 + gap;
    this.space.style.height = `${Math.ceil(this.images.length / this.columns) * this.height + gap}px`;
    this.#cells.clear();
    this.space.replaceChildren();
    this.draw();
  }

  /** Make the tiles of the rows in sight and of some beyond; the others are removed. */
  draw() {
    if (!this.columns) return;
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - 2) * this.columns;
    const last = Math.min(this.images.length, (Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + 2) * this.columns);
    for (const [place, cell] of this.#cells) {
      if (place < first || place >= last) {
        cell.remove();
        this.#cells.delete(place);
      }
    }
    const added = [];
    for (let place = first; place < last; place++) {
      if (!this.items.has(this.images[place])) this.#fetch(place);
      if (!this.#cells.has(place)) {
        const cell = this.#tile(place);
        this.#cells.set(place, cell);
        added.push(cell);
      }
      this.#state(place);
    }
    this.space.append(...added);
  }

  #tile(place) {
    const [row, column] = [Math.floor(place / this.columns), place % this.columns];
    return element("div", {
      class: "tile", role: "option", id: `tile-${place}`, dataset: { place },
      style: { left: `${8 + column * (this.side + 8)}px`, top: `${8 + row * this.height}px`, width: `${this.side}px` },
    },
    element("img", { src: `/page/thumbnails/${this.images[place]}`, alt: "", decoding: "async", draggable: "false", style: { height: `${this.side}px` } }),
    element("span", { class: "caption" }), element("span", { class: "check" }, icon("yes")));
  }

  #state(place) {
    const image = this.images[place], item = this.items.get(image), cell = this.#cells.get(place);
    const chosen = this.selected.has(image);
    cell.classList.toggle("selected", chosen);
    cell.classList.toggle("cursor", place === this.cursor);
    cell.setAttribute("aria-selected", String(chosen));
    if (!item) return;
    const state = this.label === null ? undefined : item.known[this.label];
    const what = this.label === null
      ? item.top.map(([label]) => session.labels[label].name).join(", ") || "no answer, nothing predicted"
      : state === undefined ? (item.value === null ? "" : percent(item.value)) : STATE_NAMES[state];
    cell.dataset.state = state === undefined ? "" : STATE_NAMES[state];
    cell.classList.toggle("done", item.done);
    cell.querySelector(".caption").textContent = what;
    cell.setAttribute("aria-label", `${item.name}: ${what}${item.done ? ", done" : ""}`);
  }

  move(by, selecting = false) {
    const target = Math.min(this.images.length - 1, Math.max(0, this.cursor + by));
    if (target < 0) return;
    if (selecting) this.range(this.anchor, target);
    else this.anchor = target;
    this.cursor = target;
    const top = Math.floor(target / this.columns) * this.height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.height + 8 > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + this.height + 8 - this.box.clientHeight;
    this.draw();
    this.box.setAttribute("aria-activedescendant", `tile-${target}`);
  }

  range(from, to) {
    const [low, high] = from < to ? [from, to] : [to, from];
    this.select(this.images.slice(low, high + 1));
  }

  select(images) {
    this.selected = new Set(images);
    this.draw();
    this.#count();
  }

  selectAll() {
    this.select(this.images);
    say(`${this.images.length} images selected`);
  }

  toggle(place) {
    const image = this.images[place];
    if (image === undefined) return;
    this.selected.has(image) ? this.selected.delete(image) : this.selected.add(image);
    this.cursor = this.anchor = place;
    this.draw();
    this.#count();
  }

  async alike() {
    const image = [...this.selected].pop() ?? this.images[this.cursor];
    if (image === undefined) return;
    const reply = await showingProblems(() => get(`similar/${image}?count=30`));
    if (!reply) return;
    const there = new Set(this.images);
    const found = reply.images.filter((other) => there.has(other));
    this.select([image, ...found]);
    const rest = this.images.filter((other) => !this.selected.has(other));
    this.images = [image, ...found, ...rest];
    this.#cells.clear();
    this.space.replaceChildren();
    this.box.scrollTop = 0;
    this.cursor = this.anchor = 0;
    this.draw();
    toast(`${found.length} images like this one come first and are selected.`);
  }

  #count() {
    const count = this.selected.size;
    byId("selected-count").textContent = count ? `${count} of ${this.images.length} selected` : `${this.images.length} images`;
    byId("selection").classList.toggle("some", count > 0);
  }

  async answer(state) {
    if (this.label === null) return toast("Choose a label first: press / and type its name.");
    const images = this.selected.size ? [...this.selected] : [this.images[this.cursor]].filter((image) => image !== undefined);
    if (!images.length) return undefined;
    const reply = await session.answer(images.map((image) => [image, this.label, state]));
    if (reply) toast(`${session.labels[this.label].name}: ${STATE_NAMES[state]} for ${images.length} image${images.length > 1 ? "s" : ""}.`,
      { name: "Undo", run: () => session.undo(null) });
    return undefined;
  }

  async submit() {
    const images = this.selected.size ? [...this.selected] : [this.images[this.cursor]];
    for (const image of images) await session.submit(image);
    this.load();
  }

  #onAnswers({ changes }) {
    for (const [image, label, state] of changes) {
      const item = this.items.get(image);
      if (!item) continue;
      if (state === UNKNOWN) delete item.known[label];
      else item.known[label] = state;
    }
    this.draw();
  }
}
