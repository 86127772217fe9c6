// The keyboard: commands have names and keys, the keys can be changed, and a dialog lists them.

import { byId, element } from "./dom.js";

const STORED = "keys";
const commands = new Map(); // name -> { title, key, view, run }
let own = JSON.parse(localStorage.getItem(STORED) || "{}");
let active = "";

/** Add a command. `view`: where it works; "" everywhere. */
export function command(name, title, key, run, view = "") {
  commands.set(name, { title, key, run, view });
}

export const showView = (view) => (active = view);

export const keyOf = (name) => own[name] ?? commands.get(name).key;

/** Keys as people read them. */
export const shown = (key) =>
  key.split("+").map((part) => ({ " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓",
    Control: "Ctrl", Escape: "Esc" })[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join(" + ");

function pressed(event) {
  const parts = [];
  if (event.ctrlKey || event.metaKey) parts.push("Control");
  if (event.altKey) parts.push("Alt");
  const letter = event.key.length === 1 && event.key !== " ";
  if (event.shiftKey && (!letter || /[a-z]/i.test(event.key))) parts.push("Shift");
  parts.push(letter ? event.key.toLowerCase() : event.key);
  return parts.join("+");
}

// A dialog that was just closed may have the focus until the next frame is painted.
const isTyping = (target, key) =>
  target.closest("input:not([type=checkbox]):not([type=range]), textarea, dialog[open]") ||
  (target.closest("select, input") && !key.startsWith("Control"));

function onKey(event) {
  const key = pressed(event);
  if (event.defaultPrevented || event.isComposing || isTyping(event.target, key)) return;
  // Space and Enter belong to the button that has the focus.
  if ([" ", "Enter"].includes(key) && event.target.closest("button, a, summary, [role=option]")?.checkVisibility()) return;
  for (const [name, { view, run }] of commands) {
    if (keyOf(name) === key && (!view || view === active)) {
      event.preventDefault();
      run(event);
      return;
    }
  }
}

function change(name, button) {
  button.textContent = "Press a key";
  const listen = (event) => {
    event.preventDefault();
    event.stopPropagation();
    if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
    removeEventListener("keydown", listen, true);
    if (event.key !== "Escape") {
      const key = pressed(event);
      const { view } = commands.get(name);
      const taken = [...commands].find(([other, c]) =>
        other !== name && keyOf(other) === key && (!c.view || !view || c.view === view));
      if (taken) own[taken[0]] = keyOf(name); // the two change places, so that no key has two commands
      own[name] = key;
      localStorage.setItem(STORED, JSON.stringify(own));
    }
    list();
    byId("keys-list").querySelector(`[data-name="${name}"]`).focus();
  };
  addEventListener("keydown", listen, true);
}

function list() {
  const views = { "": "Everywhere", image: "One image", grid: "Grid", mistakes: "Mistakes" };
  const parts = Object.entries(views).map(([view, title]) => {
    const rows = [...commands].filter(([, c]) => c.view === view).map(([name, { title: what }]) => {
      const button = element("button", { class: "key", dataset: { name }, "aria-label": `${what}: ${shown(keyOf(name))}. Change` },
        shown(keyOf(name)));
      button.addEventListener("click", () => change(name, button));
      return element("li", {}, element("span", {}, what), button);
    });
    return rows.length ? element("section", {}, element("h3", {}, title), element("ul", {}, rows)) : null;
  });
  byId("keys-list").replaceChildren(...parts.filter(Boolean));
}

export function showKeys() {
  list();
  byId("keys-dialog").showModal();
}

export function start() {
  addEventListener("keydown", onKey);
  command("help", "Show the keys", "?", showKeys);
  byId("keys-reset").addEventListener("click", () => {
    own = {};
    localStorage.removeItem(STORED);
    list();
  });
}
