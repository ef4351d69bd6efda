/* Lanes: runs of equal answers on the time axis. */

const OUTCOMES = new Set(["ok", "failed", "unknown"]);
const LEGIBLE = new Set(["calm", "part", "even", "odd"]);
const RANK = { ok: 1, gap: 2, unknown: 3, mixed: 4, failed: 5 }; // what wins where several share a pixel

/* Five numbers a run, as lab/report/runs.py wrote them; what lies between two runs becomes a gap. */
function decoded(numbers) {
  const runs = [];
  let at = 0;
  for (let n = 0; n < numbers.length; n += 5) {
    const begin = at + numbers[n], end = begin + numbers[n + 1];
    if (n && numbers[n]) runs.push({ begin: at * picture.tick, end: begin * picture.tick, word: -1, count: 0, text: -1 });
    runs.push({
      begin: begin * picture.tick, end: end * picture.tick,
      word: numbers[n + 2], count: numbers[n + 3], text: numbers[n + 4],
    });
    at = end;
  }
  return runs;
}

/* The first run that ends after an instant. */
function placeOf(runs, seconds) {
  let low = 0, high = runs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[middle].end > seconds) high = middle; else low = middle + 1;
  }
  return low;
}

class Lane {
  constructor(canvas, told) {
    this.canvas = canvas;
    this.told = told;
    this.runs = decoded(told.runs);
    this.judged = told.words.every((word, n) => OUTCOMES.has(word) && word === told.tones[n]);
    canvas.setAttribute("aria-label", this.summary());
  }

  summary() {
    const counts = this.told.words.map((word, n) =>
      `${word} ${this.runs.filter(run => run.word === n).reduce((sum, run) => sum + run.count, 0)}`);
    return `${this.told.name}: ${counts.join(", ")}`;
  }

  draw() {
    const ground = paint.clean(this.canvas);
    paint.behind(ground);
    if (this.judged) this.drawOutcomes(ground); else this.drawValues(ground);
  }

  toneOf(run) { return run.word < 0 ? "gap" : this.told.tones[run.word]; }

  /* Pixel by pixel, the gravest first: one failure among thousands stays visible, and is not all that was. */
  drawOutcomes({ context, width, height, x }) {
    const columns = new Array(Math.ceil(width)).fill("");
    for (let n = placeOf(this.runs, view.from); n < this.runs.length && this.runs[n].begin < view.to; n++) {
      const run = this.runs[n], tone = this.toneOf(run), least = tone === "ok" ? 1 : 3;
      const left = Math.max(0, Math.floor(x(run.begin)));
      const right = Math.min(columns.length, Math.max(left + least, Math.round(x(run.end))));
      for (let at = left; at < right; at++) {
        columns[at] = this.both(columns[at], tone);
      }
    }
    for (let at = 0, end; at < columns.length; at = end) {
      for (end = at + 1; end < columns.length && columns[end] === columns[at]; end++);
      if (columns[at] === "gap") paint.gap(context, at, end - at, height);
      else if (columns[at]) paint.bar(context, columns[at], at, end - at, height);
    }
  }

  both(one, other) {
    if (!one || one === other) return other;
    if (one !== "gap" && other !== "gap" && (one === "failed" || other === "failed")) return "mixed";
    return RANK[one] > RANK[other] ? one : other;
  }

  drawValues({ context, width, height, x }) {
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    context.textBaseline = "middle";
    for (let n = placeOf(this.runs, view.from); n < this.runs.length && this.runs[n].begin < view.to; n++) {
      const run = this.runs[n], left = Math.max(0, Math.round(x(run.begin)));
      const wide = Math.max(1, Math.min(width, Math.round(x(run.end))) - left);
      if (run.word < 0) { paint.gap(context, left, wide, height); continue; }
      paint.bar(context, this.toneOf(run), left, wide, height);
      if (n && wide > 2) { context.fillStyle = paint.colour("back"); context.fillRect(left, 0, 1, height); }
      this.write(context, run, left, wide, height);
    }
  }

  /* Only where all of the word can be read, and not on what is hatched. */
  write(context, run, left, wide, height) {
    const tone = this.toneOf(run), word = this.told.words[run.word];
    if (wide < 14 || height < 11 || !(LEGIBLE.has(tone) || tone.startsWith("="))) return;
    if (context.measureText(word).width > wide - 8) return;
    context.fillStyle = paint.colour("fore");
    context.fillText(word, left + 5, height / 2 + 0.5);
  }

  /* What is there at an instant, in words. */
  at(seconds) {
    const run = this.runs[placeOf(this.runs, seconds)];
    if (!run || run.begin > seconds) return "nothing was recorded";
    const when = `${run.begin.toFixed(2)} to ${run.end.toFixed(2)} s`;
    if (run.word < 0) return `no record, ${when}`;
    const times = run.count > 1 ? `, ${run.count} times` : "";
    const said = run.text >= 0 ? `\n${picture.texts[run.text]}` : "";
    return `${this.told.words[run.word]}${times}, ${when}${said}`;
  }
}

const lanes = [...document.querySelectorAll("canvas[data-lane]")].map(canvas =>
  new Lane(canvas, picture.sections[canvas.dataset.section].lanes[canvas.dataset.lane]));

function drawAxis() {
  const ground = paint.clean(document.getElementById("axis")), { context, width, height, x } = ground;
  paint.behind(ground);
  context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  context.textBaseline = "middle";
  const { step, found } = view.marks(width, 70);
  for (const mark of found) {
    const at = Math.round(x(mark)), label = instant(mark, step), wide = context.measureText(label).width;
    context.fillStyle = paint.colour("gap");
    context.fillRect(at, height - 5, 1, 5);
    context.fillStyle = paint.colour("fore");
    context.fillText(label, Math.min(Math.max(at - wide / 2, 0), width - wide), height / 2 - 2);
  }
}

/* Seconds since the last fault that had begun by then, which is how one thinks of them. */
function sinceFault(seconds) {
  const begun = picture.marks.map(mark => mark[0]).filter(begin => begin <= seconds);
  return begun.length ? ` (${(seconds - Math.max(...begun)).toFixed(2)} s after a fault began)` : "";
}

view.drawers.push(drawAxis, () => lanes.forEach(lane => lane.draw()));
