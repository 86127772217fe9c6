// One image: the picture, the next best question, the labels; every answer moves the others at once.

import { get, newestOnly, post, showingProblems } from "./api.js";
import { byId, element, percent, say, toast } from "./dom.js";
import { command } from "./keys.js";
import { LabelList } from "./label_list.js";
import { Picture, picture } from "./picture.js";
import { NO, session, UNKNOWN, YES } from "./session.js";
import { TypeAhead } from "./type_ahead.js";

const AHEAD = 3; // images whose pictures and probabilities are fetched before they are needed

const details = new Map(); // of images that were fetched ahead
const fetchDetails = (image, options) => get(`images/${image}?person=${encodeURIComponent(session.person)}`, options);
const fetchNewest = newestOnly(fetchDetails);

export class ImageView {
  queue = []; // images that this person has leased
  passed = []; // those that were shown before
  image = null;
  #heat = false;
  #stale = false;

  constructor() {
    this.picture = new Picture(byId("picture"));
    this.list = new LabelList(byId("labels"), {
      answer: (label, state) => this.answer(label, state),
      look: (label) => this.look(label),
    });
    this.typeAhead = new TypeAhead(byId("find"), byId("matches"),
      () => ({ probabilities: this.image?.probabilities, known: this.image?.known, own: this.#own() }),
      (label) => this.answer(label.index, YES));
    byId("yes").addEventListener("click", () => this.answer(this.list.current, YES));
    byId("no").addEventListener("click", () => this.answer(this.list.current, NO));
    byId("skip").addEventListener("click", () => this.skip());
    byId("done").addEventListener("click", () => this.submit());
    byId("back").addEventListener("click", () => this.back());
    byId("group").addEventListener("change", () => this.#draw());
    byId("heat").addEventListener("click", () => this.toggleHeat());
    session.addEventListener("answers", ({ detail }) => this.#onAnswers(detail));
    this.#commands();
  }

  #commands() {
    const add = (name, title, key, run) => command(name, title, key, run, "image");
    add("yes", "Yes to the current label", "y", () => this.answer(this.list.current, YES));
    add("no", "No to the current label", "n", () => this.answer(this.list.current, NO));
    add("unknown", "Take back the current label's answer", "u", () => this.answer(this.list.current, UNKNOWN));
    add("skip", "Skip the question", "s", () => this.skip());
    add("down", "Next label", "ArrowDown", () => this.list.step(1));
    add("up", "Previous label", "ArrowUp", () => this.list.step(-1));
    add("find", "Find a label", "/", () => this.typeAhead.focus());
    add("submit", "Image done, next image", "Enter", () => this.submit());
    add("next", "Next image, this one stays open", "ArrowRight", () => this.next());
    add("back", "Previous image", "ArrowLeft", () => this.back());
    add("heat", "Show where the current label is seen", "h", () => this.toggleHeat());
  }

  /** Labels that this person said yes to, on any image of this visit. */
  #own() {
    return (this.own ??= new Set(JSON.parse(sessionStorage.getItem("own") || "[]")));
  }

  async open(image = null) {
    if (image !== null) {
      if (this.image && this.image.key !== image) this.passed.push(this.image.key);
      return this.show(image);
    }
    if (this.#stale) return this.show(this.image.key);
    return this.image ? this.#draw() : this.next();
  }

  async next() {
    if (this.image) this.passed.push(this.image.key);
    const after = this.image?.key ?? null;
    const following = this.queue.shift() ?? (await session.next(AHEAD + 1, after))?.shift();
    if (following === undefined) return this.#empty();
    await this.show(following);
    return undefined;
  }

  async #fill() {
    const images = await session.next(AHEAD + 1, this.image?.key ?? null);
    if (!images) return;
    this.queue = images.filter((image) => image !== this.image?.key).slice(0, AHEAD);
    for (const image of this.queue) {
      picture(image).catch(() => {});
      if (!details.has(image)) details.set(image, fetchDetails(image).catch(() => details.delete(image)));
    }
    for (const image of details.keys()) if (!this.queue.includes(image)) details.delete(image);
  }

  async back() {
    const image = this.passed.pop();
    if (image === undefined) return toast("There is no earlier image.");
    if (this.image) this.queue.unshift(this.image.key);
    return this.show(image);
  }

  async show(image) {
    this.wanted = image;
    this.#stale = false;
    this.picture.show(image, "");
    await session.settled;
    const ahead = await details.get(image);
    details.delete(image);
    const content = ahead || (await showingProblems(() => fetchNewest(image)));
    if (!content || this.wanted !== image) return;
    this.image = content;
    this.list.image = content;
    byId("one").classList.remove("nothing");
    this.list.show(content);
    this.picture.show(image, content.name);
    this.#draw(false);
    byId("labels").scrollTop = 0;
    say(`Image ${content.name}${content.done ? ", done" : ""}`);
    this.#fill();
  }

  #empty() {
    this.image = null;
    byId("one").classList.add("nothing");
    byId("picture").replaceChildren(element("div", { class: "empty" },
      element("p", {}, session.progress.total ? "Every image is done, or another person has it." : "There are no images yet."),
      element("p", { class: "faint" }, "Drop or paste a picture here, or pick one.")));
    byId("labels").replaceChildren();
  }

  #draw(list = true) {
    const image = this.image;
    if (!image) return;
    if (list) this.list.show(image, { group: byId("group").value, keepCurrent: true });
    byId("image-name").textContent = image.name;
    byId("image-size").textContent = `${image.width} × ${image.height}`;
    byId("done").lastChild.textContent = image.done ? "Open again" : "Done, next";
    byId("one").classList.toggle("is-done", image.done);
    this.#question();
  }

  #question() {
    const asked = this.image.suggestions[0];
    byId("question").hidden = !asked;
    if (!asked) return;
    const { name } = session.labels[asked.label];
    byId("asked").textContent = name;
    byId("asked-number").textContent = `The model says ${percent(asked.probability)}. This answer helps the others most.`;
  }

  async answer(label, state) {
    const image = this.image;
    if (!image || label === null || label === undefined) return;
    if (state === YES) {
      this.#own().add(label);
      sessionStorage.setItem("own", JSON.stringify([...this.#own()]));
    }
    await session.answer([[image.key, label, state]], image.key);
  }

  #onAnswers({ changes, focus }) {
    details.clear();
    if (!focus && changes.some(([image]) => image === this.image?.key)) this.#stale = true; // answered in another view
    if (!focus || focus.key !== this.image?.key) return;
    const changed = changes.length === 1 && changes[0][0] === focus.key ? changes[0][1] : null;
    const moved = this.list.moved(focus.probabilities, changed);
    this.image = focus;
    this.list.show(focus, { group: byId("group").value });
    this.#draw(false);
    this.#movement(moved);
    if (this.#heat) this.look(this.list.current);
  }

  #movement(moved) {
    const line = byId("moved");
    line.hidden = false;
    if (!moved.length) line.replaceChildren("No other label moved by 5 points or more.");
    else {
      line.replaceChildren("Moved most: ", ...moved.flatMap(([label, from, to], place) => [
        place ? ", " : "", element("b", {}, session.labels[label].name), ` ${percent(from)} → ${percent(to)}`]));
      say(line.textContent);
    }
  }

  /** Ask the second best question instead. */
  skip() {
    if (!this.image?.suggestions.length) return;
    this.image.suggestions = this.image.suggestions.slice(1);
    this.list.show(this.image, { group: byId("group").value });
    this.#question();
  }

  async submit() {
    const image = this.image;
    if (!image) return this.next();
    const done = !image.done;
    const reply = await session.submit(image.key, done);
    if (!reply) return undefined;
    image.done = done;
    if (!done) return this.#draw(false);
    return this.next();
  }

  look(label) {
    if (label === null || !this.image || !session.model.uses_image || session.labels[label].extra) this.picture.hideHeat();
    else if (this.#heat || matchMedia("(hover: hover)").matches) this.picture.heat(label);
  }

  toggleHeat() {
    this.#heat = !this.#heat;
    byId("heat").setAttribute("aria-pressed", String(this.#heat));
    this.look(this.#heat ? this.list.current : null);
  }

  /** A picture from outside: it is added to the server's images, and shown. */
  async add(file) {
    const reply = await showingProblems(() => post("pictures", file));
    if (!reply) return;
    session.take(reply);
    await this.open(reply.key);
  }
}

/** Dropped, pasted or picked pictures go to the view. */
export function acceptPictures(view, before) {
  const images = (items) => [...items].filter((file) => file.type.startsWith("image/"));
  const add = async (files) => {
    if (!files.length) return;
    before();
    for (const file of files) await view.add(file);
  };
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    add(images(event.dataTransfer.files));
  });
  addEventListener("paste", (event) => add(images(event.clipboardData.files)));
  byId("pick").addEventListener("change", (event) => add([...event.target.files]));
}
