// The labels: how often each was answered, and its threshold with the precision and recall that it gives.

import { get, post, showingProblems } from "./api.js";
import { byId, element, percent } from "./dom.js";
import { session } from "./session.js";

const SHOWN = 200;

export class LabelsView {
  constructor() {
    byId("labels-find").addEventListener("input", () => this.#draw());
  }

  async load() {
    const reply = await showingProblems(() => get("labels"));
    if (!reply) return;
    this.rows = reply.labels;
    byId("labels-source").textContent = reply.source;
    this.#draw();
  }

  #draw() {
    const wanted = byId("labels-find").value.trim().toLowerCase();
    const found = (this.rows ?? []).filter(({ label }) => session.labels[label].search.includes(wanted));
    byId("labels-table").replaceChildren(...found.slice(0, SHOWN).map((row) => this.#row(row)));
    byId("labels-rest").textContent = found.length > SHOWN ? `and ${found.length - SHOWN} more: type a part of the name` : "";
  }

  #row(row) {
    const label = session.labels[row.label];
    const threshold = element("output", {}, percent(label.threshold));
    const precision = element("td", { class: "number" }), recall = element("td", { class: "number" });
    const figures = (at) => {
      const point = row.curve?.find(([from]) => from >= at - 1e-9) ?? row.curve?.at(-1);
      precision.textContent = point && point[1] !== null ? percent(point[1]) : "–";
      recall.textContent = point && point[2] !== null ? percent(point[2]) : "–";
    };
    figures(label.threshold);
    const slider = element("input", {
      type: "range", min: "1", max: "99", value: String(Math.round(100 * label.threshold)), "aria-label": `Threshold of ${label.name}`,
      oninput: () => {
        threshold.textContent = `${slider.value} %`;
        figures(slider.value / 100);
      },
      onchange: async () => {
        const reply = await showingProblems(() => post("thresholds", { label: row.label, threshold: slider.value / 100 }));
        if (reply) {
          label.threshold = slider.value / 100;
          session.model.version = reply.version;
        }
      },
    });
    return element("tr", {},
      element("th", { scope: "row" }, label.name, label.group ? element("span", { class: "faint" }, ` ${label.group}`) : null),
      element("td", { class: "number" }, String(row.yes)), element("td", { class: "number" }, String(row.no)),
      element("td", { class: "slide" }, label.extra ? element("span", { class: "faint" }, "extra label: an input only") : [slider, threshold]),
      precision, recall);
  }
}
