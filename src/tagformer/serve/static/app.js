// The page: its views, what is in the bar above them, and the dialogs.

import { getFile, showingProblems } from "./api.js";
import { byId, toast } from "./dom.js";
import { GridView } from "./grid_view.js";
import { acceptPictures, ImageView } from "./image_view.js";
import { command, showKeys, showView, start as startKeys } from "./keys.js";
import { LabelsView } from "./labels_view.js";
import { MistakesView } from "./mistakes_view.js";
import { ownName, session } from "./session.js";
import { TrainView } from "./train_view.js";

const VIEWS = ["image", "grid", "mistakes", "labels", "train"];

let view = "";

async function show(name, image = null) {
  view = VIEWS.includes(name) ? name : "image";
  showView(view);
  for (const other of VIEWS) {
    byId(`view-${other}`).hidden = other !== view;
    const link = document.querySelector(`[data-view="${other}"]`);
    if (other === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (location.hash.slice(1) !== view) history.replaceState(null, "", `#${view}`);
  if (view === "grid") byId("tiles").focus({ preventScroll: true });
  await (view === "image" ? views.image.open(image) : views[view].load());
}

const openImage = (image) => show("image", image);

const views = {
  image: new ImageView(),
  grid: new GridView(openImage),
  mistakes: new MistakesView(openImage),
  labels: new LabelsView(),
  train: new TrainView(),
};

function showProgress() {
  const { done, total, scored } = session.progress;
  byId("progress").max = Math.max(1, total);
  byId("progress").value = done;
  byId("progress-text").textContent = `${done} of ${total} done`;
  byId("progress-text").hidden = scored < total;
  byId("scoring").hidden = scored >= total;
  byId("scoring").textContent = `${scored} of ${total} looked at`;
  byId("undo").disabled = !session.undoable;
  byId("redo").disabled = !session.redoable;
}

/** While the server looks at the images for the first time, its progress is shown. */
async function followScoring() {
  while (session.progress.scored < session.progress.total) {
    await new Promise((done) => setTimeout(done, 1500));
    await session.load().catch(() => {});
  }
}

async function undo(redo) {
  const focus = view === "image" ? views.image.image?.key ?? null : null;
  await session.undo(focus, redo);
  if (view === "mistakes") views.mistakes.load();
}

function theme(next = localStorage.getItem("theme") || "auto") {
  localStorage.setItem("theme", next);
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  byId("theme").value = next;
}

async function saveExport(event) {
  event.preventDefault();
  const form = new FormData(byId("export-form"));
  const query = new URLSearchParams({ format: form.get("format"), images: form.get("images"), predicted: form.has("predicted") });
  const file = await showingProblems(() => getFile(`export?${query}`));
  if (!file) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `tags-${form.get("format")}.${file.type.includes("zip") ? "zip" : file.type.includes("csv") ? "csv" : file.type.includes("jsonl") ? "jsonl" : "json"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  byId("export-dialog").close();
}

function groups() {
  const names = [...new Set(session.labels.map((label) => label.group).filter(Boolean))];
  byId("group").hidden = !names.length;
  byId("group").replaceChildren(new Option("All groups", ""), ...names.map((name) => new Option(name, name)));
}

async function begin() {
  startKeys();
  theme();
  byId("theme").addEventListener("change", () => theme(byId("theme").value));
  for (const link of document.querySelectorAll("[data-view]")) {
    link.addEventListener("click", (event) => (event.preventDefault(), show(link.dataset.view)));
  }
  addEventListener("hashchange", () => show(location.hash.slice(1)));
  byId("undo").addEventListener("click", () => undo(false));
  byId("redo").addEventListener("click", () => undo(true));
  byId("help").addEventListener("click", showKeys);
  byId("export").addEventListener("click", () => byId("export-dialog").showModal());
  byId("export-form").addEventListener("submit", saveExport);
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  byId("person").addEventListener("change", async () => {
    await showingProblems(() => session.signIn(byId("person").value));
    views.image.image = null;
    show(view);
  });
  command("undo", "Undo", "Control+z", () => undo(false));
  command("redo", "Do again", "Control+Shift+z", () => undo(true));
  VIEWS.forEach((name, place) => {
    const titles = { image: "One image", grid: "Grid", mistakes: "Mistakes", labels: "Labels and thresholds", train: "Train again" };
    command(`view-${name}`, titles[name], String(place + 1), () => show(name));
  });
  session.addEventListener("progress", showProgress);
  await session.load();
  byId("person").value = ownName(session.person);
  byId("model-name").textContent = session.model.name;
  byId("data-name").textContent = session.data.name;
  document.title = `${session.model.name} · Tagformer`;
  document.body.classList.toggle("no-known", !session.model.uses_known);
  groups();
  acceptPictures(views.image, () => view !== "image" && show("image"));
  addEventListener("beforeunload", () => navigator.sendBeacon?.("/page/leave", new Blob([JSON.stringify({ person: session.person })], { type: "application/json" })));
  await show(location.hash.slice(1) || "image");
  document.body.dataset.ready = "true";
  followScoring();
}

begin().catch((problem) => {
  toast(problem.message);
  document.body.dataset.ready = "failed";
});
