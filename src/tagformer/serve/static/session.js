// What the page knows: the model, the labels, the queue and the progress, and every change of an answer.

import { get, post, requestId, showingProblems } from "./api.js";
import { say, toast } from "./dom.js";

export const YES = 1, NO = 0, UNKNOWN = -1;
export const STATE_NAMES = { [YES]: "yes", [NO]: "no", [UNKNOWN]: "unknown" };

const GUEST = "guest ";

/** A name for who gives none, so that two of them do not get the same image. */
function guest() {
  const name = GUEST + requestId().slice(0, 8);
  localStorage.setItem("person", name);
  return name;
}

/** A person's name, or nothing for a guest. */
export const ownName = (person) => (person.startsWith(GUEST) ? "" : person);

class Session extends EventTarget {
  model = null;
  labels = [];
  progress = { done: 0, total: 0, scored: 0, answers: 0 };
  undoable = false;
  redoable = false;
  person = localStorage.getItem("person") || guest();

  async load() {
    const state = await get(`state?person=${encodeURIComponent(this.person)}`);
    this.labels = state.labels.map((label, index) => ({ ...label, index, search: label.name.toLowerCase() }));
    this.model = state.model;
    this.data = state.data;
    this.take(state);
  }

  /** Take over what every answer of the server carries: progress and what can be undone. */
  take({ progress, undoable, redoable }) {
    if (progress) this.progress = progress;
    if (undoable !== undefined) [this.undoable, this.redoable] = [undoable, redoable];
    this.dispatchEvent(new Event("progress"));
  }

  signIn(person) {
    this.person = person.trim() || guest();
    localStorage.setItem("person", this.person);
    return this.load();
  }

  /** Save answers, [[image, label, state], ...]; the reply has the image in focus as it is then. */
  async answer(changes, focus = null) {
    const content = { request: requestId(), person: this.person, changes, focus };
    const reply = await this.#sending("answers", content);
    if (reply) this.#announce(changes, reply);
    return reply;
  }

  /** An answer that was looked at again and is right. */
  confirm(image, label, state) {
    return this.#sending("confirm", { person: this.person, image, label, state });
  }

  async undo(focus, redo = false) {
    const reply = await this.#sending(redo ? "redo" : "undo", { person: this.person, focus });
    if (!reply) return null;
    if (!reply.changes) toast(redo ? "There is nothing to do again." : "There is nothing to undo.");
    else if (!reply.changes.length) toast(`${redo ? "Done again" : "Undone"}. No label of these images changes: it was answered again, or only confirmed.`);
    else this.#announce(reply.changes, reply, redo ? "Done again" : "Undone");
    return reply;
  }

  async submit(image, done = true) {
    return this.#sending("submit", { person: this.person, image, done });
  }

  /** The next images of the queue that nobody else has. */
  next(count, after = null) {
    return showingProblems(async () => {
      const { images } = await post("next", { person: this.person, count, after });
      return images;
    });
  }

  /** Resolved once everything that was sent is answered: what is asked for then has all of it. */
  settled = Promise.resolve();

  #sending(path, content) {
    const sent = showingProblems(async () => {
      const reply = await post(path, content);
      this.take(reply);
      return reply;
    });
    this.settled = Promise.allSettled([this.settled, sent]);
    return sent;
  }

  #announce(changes, reply, done = "Saved") {
    if (changes.length === 1) say(`${done}: ${this.labels[changes[0][1]].name}, ${STATE_NAMES[changes[0][2]]}`);
    else say(`${done}: ${changes.length} answers`);
    this.dispatchEvent(new CustomEvent("answers", { detail: { changes, focus: reply.focus } }));
  }
}

export const session = new Session();
