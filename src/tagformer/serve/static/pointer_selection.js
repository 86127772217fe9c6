// Selecting tiles of the grid with a mouse or a finger: clicks, ranges and a lasso.

import { element } from "./dom.js";

/** Clicks select as in a file manager; dragging over empty space or tiles draws a lasso. */
export function selectByPointer(grid) {
  let start = null, lasso = null, before = null;
  const at = (event) => {
    const frame = grid.box.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top + grid.box.scrollTop];
  };
  grid.box.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch" || event.offsetX > grid.box.clientWidth) return;
    start = at(event);
    before = event.ctrlKey || event.metaKey || event.shiftKey ? new Set(grid.selected) : new Set();
  });
  addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = at(event);
    if (!lasso && Math.hypot(x - start[0], y - start[1]) < 6) return;
    lasso ??= grid.space.appendChild(element("div", { class: "lasso" }));
    const [left, top, right, bottom] = [Math.min(x, start[0]), Math.min(y, start[1]), Math.max(x, start[0]), Math.max(y, start[1])];
    Object.assign(lasso.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
    grid.select([...before, ...grid.images.filter((_, place) => {
      const [tileLeft, tileTop] = [8 + (place % grid.columns) * (grid.side + 8), 8 + Math.floor(place / grid.columns) * grid.height];
      return tileLeft < right && tileLeft + grid.side > left && tileTop < bottom && tileTop + grid.side > top;
    })]);
  });
  addEventListener("pointerup", () => {
    start = null;
    setTimeout(() => {
      lasso?.remove();
      lasso = null;
    });
  });
  grid.box.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (lasso || !tile) return;
    const place = Number(tile.dataset.place);
    if (event.shiftKey) {
      grid.range(grid.anchor, place);
      grid.cursor = place;
    } else if (event.ctrlKey || event.metaKey || event.target.closest(".check") || matchMedia("(hover: none)").matches) grid.toggle(place);
    else {
      grid.cursor = grid.anchor = place;
      grid.select([grid.images[place]]);
    }
    grid.draw();
  });
  grid.box.addEventListener("dblclick", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) grid.open(grid.images[Number(tile.dataset.place)]);
  });
}
