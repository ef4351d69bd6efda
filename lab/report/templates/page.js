/* What the reader does: wheel, drag, keys, buttons, print. */

const box = document.getElementById("lanes"), axis = document.getElementById("axis"), tip = document.getElementById("tip");

/* The instant below the pointer; nothing left of the axis. */
function under(event) {
  const edge = axis.getBoundingClientRect();
  const share = (event.clientX - edge.left) / edge.width;
  return share < 0 || share > 1 ? undefined : view.from + share * (view.to - view.from);
}

/* A page must scroll: only on the axis itself, or with Ctrl (a pinch is that too), does the wheel zoom. */
function onWheel(event) {
  const at = under(event), sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
  if (at === undefined) return;
  if (sideways) view.move(event.deltaX / axis.clientWidth * (view.to - view.from));
  else if (event.ctrlKey || event.metaKey || event.target === axis) view.zoom(Math.pow(1.0016, event.deltaY), at);
  else return;
  event.preventDefault();
}

const drag = { from: null, x: 0, moves: false };

function onDown(event) {
  const at = under(event);
  if (event.button || at === undefined || event.pointerType === "touch") return;
  Object.assign(drag, { from: at, x: event.clientX, moves: event.shiftKey });
  event.currentTarget.setPointerCapture(event.pointerId);
}

function onMove(event) {
  const at = under(event);
  showTip(event, at);
  if (drag.from === null || at === undefined) return;
  if (drag.moves) view.move(drag.from - at);
  else selection(Math.min(drag.from, at), Math.max(drag.from, at));
}

function onUp(event) {
  const at = under(event);
  if (drag.from !== null && !drag.moves && at !== undefined && Math.abs(event.clientX - drag.x) > 4) {
    view.show(Math.min(drag.from, at), Math.max(drag.from, at));
  }
  drag.from = null;
  selection();
}

/* What a drag has selected so far, as a band over the axis. */
function selection(from, to) {
  view.draw();
  if (from === undefined) return;
  for (const canvas of [axis, ...lanes.map(lane => lane.canvas)]) {
    const context = canvas.getContext("2d"), wide = canvas.clientWidth, length = view.to - view.from;
    context.globalAlpha = 0.25;
    context.fillStyle = paint.colour("link");
    context.fillRect((from - view.from) / length * wide, 0, (to - from) / length * wide, canvas.clientHeight);
    context.globalAlpha = 1;
  }
}

function showTip(event, at) {
  const lane = lanes.find(each => each.canvas === event.target);
  const said = at === undefined ? "" : lane ? `${lane.told.name}\n${lane.at(at)}` : event.target === plot.canvas ? plot.at(at) : "";
  tip.hidden = !said;
  if (!said) return;
  tip.textContent = `${at.toFixed(3)} s${sinceFault(at)}\n${said}`;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 12}px`;
}

const KEYS = {
  "+": () => view.zoom(0.6), "=": () => view.zoom(0.6), "-": () => view.zoom(1 / 0.6),
  ArrowLeft: () => view.move(-(view.to - view.from) / 5), ArrowRight: () => view.move((view.to - view.from) / 5),
  0: () => view.reset(), Home: () => view.reset(),
};

function onKey(event) {
  if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  KEYS[event.key]();
  event.preventDefault();
}

for (const area of [box, plot.canvas].filter(Boolean)) {
  area.addEventListener("wheel", onWheel, { passive: false });
  area.addEventListener("pointerdown", onDown);
  area.addEventListener("pointermove", onMove);
  area.addEventListener("pointerup", onUp);
  area.addEventListener("pointercancel", () => { drag.from = null; selection(); });
  area.addEventListener("pointerleave", () => { tip.hidden = true; });
  area.addEventListener("dblclick", () => view.reset());
}
box.addEventListener("keydown", onKey);

const around = (from, to) => view.show(from - (to - from) * 0.1 - 0.5, to + (to - from) * 0.1 + 0.5);
const DO = { in: () => view.zoom(0.6), out: () => view.zoom(1 / 0.6), reset: () => view.reset() };
for (const button of document.querySelectorAll("button[data-do]")) button.addEventListener("click", DO[button.dataset.do]);
for (const button of document.querySelectorAll("button[data-fault]")) {
  button.addEventListener("click", () => around(...picture.marks[button.dataset.fault]));
}
for (const button of document.querySelectorAll("button[data-from]")) {
  button.addEventListener("click", () => {
    around(+button.dataset.from, +button.dataset.to);
    document.getElementById("timeline").scrollIntoView();
  });
}

const choice = document.getElementById("probe");
if (choice) {
  choice.addEventListener("change", () => plot.choose(+choice.value));
  plot.choose(+choice.value);
}

function drawLegend() {
  for (const canvas of document.querySelectorAll(".legend canvas")) {
    const { context, width, height } = paint.clean(canvas);
    if (canvas.dataset.tone === "gap") paint.gap(context, 0, width, height);
    else paint.bar(context, canvas.dataset.tone, 0, width, height);
  }
}

function tellShown() {
  const step = view.step(100, 1);
  document.getElementById("shown").textContent = `${instant(view.from, step)} to ${instant(view.to, step)} s`;
}

view.drawers.unshift(() => paint.refresh());
view.drawers.push(drawLegend, tellShown);

/* On paper everything is light, whole and open; of logs, which may be dozens of pages, what the reader opened. */
function paper(prints) {
  document.documentElement.toggleAttribute("data-print", prints);
  for (const each of document.querySelectorAll("details:not(.log)")) {
    if (prints) { each.dataset.was = each.open ? "open" : ""; each.open = true; }
    else if (each.dataset.was !== undefined) each.open = each.dataset.was === "open";
  }
  if (prints) Object.assign(view, { from: view.first, to: view.last });
  view.draw();
}
addEventListener("beforeprint", () => paper(true));
addEventListener("afterprint", () => paper(false));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.redraw());
new ResizeObserver(() => view.redraw()).observe(document.body);
view.draw();
