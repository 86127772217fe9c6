// Building elements, and what the page says aloud.

/** An element with attributes, listeners (`onclick`) and children; null children are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(made.dataset, value);
    else if (key === "style") for (const [rule, text] of Object.entries(value)) made.style.setProperty(rule, text);
    else if (key in made && typeof value === "boolean") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** One of the icons in the page's hidden drawing; it is decoration, its button has a name of its own. */
export function icon(name) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  drawing.append(use);
  return drawing;
}

export const byId = (id) => document.getElementById(id);

export const percent = (probability) => `${Math.round(100 * probability)} %`;

/** A sentence for screen readers. */
export function say(text) {
  const line = byId("spoken");
  line.textContent = "";
  requestAnimationFrame(() => (line.textContent = text));
}

let hiding = 0;

/** A short message at the lower edge, with at most one button. */
export function toast(text, action = null) {
  const box = byId("toast");
  clearTimeout(hiding);
  box.replaceChildren(element("span", {}, text));
  if (action) box.append(element("button", { class: "plain", onclick: () => (hide(), action.run()) }, action.name));
  box.hidden = false;
  const hide = () => (box.hidden = true);
  hiding = setTimeout(hide, action ? 8000 : 4000);
}
