// The picture in view, the next ones fetched before they are needed, and where in it a label is seen.

import { get, newestOnly } from "./api.js";
import { element } from "./dom.js";

const AHEAD = 12; // pictures that are kept decoded
const SMALLEST = 460; // pixels to which small pictures are enlarged
const kept = new Map();

/** A decoded picture; the newest ones are kept. */
export function picture(image) {
  if (!kept.has(image)) {
    const made = new Image();
    made.src = `/page/pictures/${image}`;
    const decoded = made.decode().then(() => made);
    decoded.catch(() => kept.delete(image));
    kept.set(image, decoded);
    if (kept.size > AHEAD) kept.delete(kept.keys().next().value);
  }
  return kept.get(image);
}

const fetchMap = newestOnly((path, options) => get(path, options));

export class Picture {
  #image = null;
  #heated = null;

  constructor(frame) {
    this.frame = frame;
    this.canvas = element("canvas", { class: "heat", "aria-hidden": "true", hidden: true });
  }

  async show(image, name) {
    this.#image = image;
    this.hideHeat();
    try {
      const made = await picture(image);
      if (this.#image !== image) return;
      made.alt = name;
      this.frame.replaceChildren(made, this.canvas);
      this.frame.style.setProperty("--ratio", made.naturalWidth / made.naturalHeight);
      this.frame.style.setProperty("--widest", `${Math.max(SMALLEST, made.naturalWidth)}px`);
    } catch {
      if (this.#image === image) this.frame.replaceChildren(element("p", { class: "empty" }, `${name} cannot be shown.`));
    }
  }

  /** Where a label is seen; `known` are the answers, so that the map belongs to the probabilities beside it. */
  async heat(label) {
    const image = this.#image;
    this.#heated = label;
    const map = await fetchMap(`heat/${image}/${label}`).catch(() => null);
    if (!map || this.#image !== image || this.#heated !== label) return;
    paint(this.canvas, map);
    this.canvas.hidden = false;
  }

  hideHeat() {
    this.#heated = null;
    this.canvas.hidden = true;
  }
}

/** Draw a map of rows of numbers from 0 to 1 over the part of the picture that it covers. */
function paint(canvas, { rows, region }) {
  const [height, width] = [rows.length, rows[0].length];
  const small = new OffscreenCanvas(width, height);
  const drawing = small.getContext("2d");
  const pixels = drawing.createImageData(width, height);
  rows.flat().forEach((value, index) => {
    const [red, green, blue] = colour(value);
    pixels.data.set([red, green, blue, 215 * value ** 1.2], 4 * index);
  });
  drawing.putImageData(pixels, 0, 0);
  canvas.width = 640;
  canvas.height = Math.max(1, Math.round(640 / (parseFloat(canvas.parentElement.style.getPropertyValue("--ratio")) || 1)));
  const target = canvas.getContext("2d");
  target.imageSmoothingEnabled = true;
  target.imageSmoothingQuality = "high";
  const [left, top, right, bottom] = region;
  target.drawImage(small, left * canvas.width, top * canvas.height, (right - left) * canvas.width, (bottom - top) * canvas.height);
}

/** From violet over orange to yellow: brightness rises with the value, for those who see no colours. */
function colour(value) {
  const stops = [[60, 20, 120], [180, 50, 110], [240, 120, 50], [252, 230, 120]];
  const place = Math.min(0.999, Math.max(0, value)) * (stops.length - 1);
  const [from, to] = [stops[Math.floor(place)], stops[Math.floor(place) + 1]];
  return from.map((channel, index) => channel + (place % 1) * (to[index] - channel));
}
