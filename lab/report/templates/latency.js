/* How long each answer of one probe took, on a logarithmic scale and the timeline's axis. */

class Latency {
  constructor(told) {
    this.told = told;
    const many = told.took.length;
    this.beats = new Float64Array(many);
    this.word = new Uint8Array(many);
    let at = told.beats[0], place = 0;
    if (many) this.beats[place++] = at * picture.tick;
    for (let n = 1; n < told.beats.length; n += 2) {
      for (let times = told.beats[n]; times > 0; times--) { at += told.beats[n + 1]; this.beats[place++] = at * picture.tick; }
    }
    place = 0;
    for (let n = 0; n < told.outcomes.length; n += 2) {
      this.word.fill(told.outcomes[n], place, place + told.outcomes[n + 1]);
      place += told.outcomes[n + 1];
    }
    const longest = told.took.reduce((most, each) => Math.max(most, each), 0) * picture.tick;
    const shortest = told.took.reduce((least, each) => each > 0 ? Math.min(least, each) : least, 1e9) * picture.tick;
    this.top = Math.ceil(Math.log10(Math.max(longest, told.deadline, 0.01)) + 0.05);
    this.bottom = Math.min(Math.floor(Math.log10(Math.min(Math.max(shortest, 1e-4), 1))), this.top - 1);
  }

  seconds(n) { return this.told.took[n] * picture.tick; }

  /* The first question of a beat not before an instant. */
  place(seconds) {
    let low = 0, high = this.beats.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.beats[middle] < seconds) low = middle + 1; else high = middle;
    }
    return low;
  }
}

const plot = {
  canvas: document.getElementById("plot"),
  scale: document.getElementById("scale"),
  shown: null,
  known: new Map(),

  choose(number) {
    if (!this.known.has(number)) this.known.set(number, new Latency(picture.latency[number]));
    this.shown = this.known.get(number);
    view.redraw();
  },

  y(seconds, height) {
    const { top, bottom } = this.shown, power = Math.log10(Math.max(seconds, Math.pow(10, bottom)));
    return 6 + (top - power) / (top - bottom) * (height - 12);
  },

  draw() {
    if (!this.canvas || !this.shown) return;
    const ground = paint.clean(this.canvas);
    paint.behind(ground);
    this.drawScale(ground);
    this.drawPoints(ground);
    this.drawDeadline(ground);
  },

  drawScale({ context, width, height, x }) {
    context.fillStyle = paint.colour("line");
    for (const mark of view.marks(width, 70).found) context.fillRect(Math.round(x(mark)), 0, 1, height);
    const labels = [];
    for (let power = this.shown.bottom; power <= this.shown.top; power++) {
      const at = this.y(Math.pow(10, power), height);
      context.fillRect(0, Math.round(at), width, 1);
      labels.push([at, power < 0 ? `${+Math.pow(10, power + 3).toPrecision(1)} ms` : `${Math.pow(10, power)} s`]);
    }
    this.scale.replaceChildren(...labels.map(([at, text]) => {
      const label = document.createElement("span");
      label.textContent = text;
      label.style.top = `${at}px`;
      return label;
    }));
  },

  /* The good ones first, so that none of them hides one that failed; one point where many share a pixel. */
  drawPoints({ context, height, x }) {
    const { shown } = this, first = shown.place(view.from), order = ["ok", "unknown", "failed"];
    for (const word of order) {
      const code = shown.told.words.indexOf(word);
      if (code < 0) continue;
      let pixel = -1, rows = new Set();
      context.fillStyle = context.strokeStyle = paint.colour(word === "ok" ? "dot" : word);
      context.lineWidth = 1.2;
      for (let n = first; n < shown.beats.length && shown.beats[n] <= view.to; n++) {
        if (shown.word[n] !== code) continue;
        const left = x(shown.beats[n]), down = this.y(shown.seconds(n), height);
        if (Math.round(left) !== pixel) { pixel = Math.round(left); rows = new Set(); }
        if (rows.has(Math.round(down))) continue;
        rows.add(Math.round(down));
        this.point(context, word, left, down);
      }
    }
  },

  point(context, word, x, y) {
    if (word === "ok") { context.fillRect(x - 1, y - 1, 2, 2); return; }
    context.beginPath();
    if (word === "failed") {
      context.moveTo(x - 3, y - 3); context.lineTo(x + 3, y + 3);
      context.moveTo(x - 3, y + 3); context.lineTo(x + 3, y - 3);
    } else context.arc(x, y, 3, 0, 7);
    context.stroke();
  },

  drawDeadline({ context, width, height }) {
    const at = Math.round(this.y(this.shown.told.deadline, height)) + 0.5;
    const label = `deadline ${this.shown.told.deadline} s`;
    context.strokeStyle = context.fillStyle = paint.colour("fore");
    context.lineWidth = 1;
    context.setLineDash([6, 4]);
    context.beginPath();
    context.moveTo(0, at);
    context.lineTo(width, at);
    context.stroke();
    context.setLineDash([]);
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    context.textBaseline = "bottom";
    const wide = context.measureText(label).width;
    context.fillText(label, width - wide - 4, at > 16 ? at - 2 : at + 14);
  },

  /* The question next to an instant, in words. */
  at(seconds) {
    const { shown } = this;
    if (!shown || !shown.beats.length) return "";
    let n = Math.min(shown.place(seconds), shown.beats.length - 1);
    if (n > 0 && seconds - shown.beats[n - 1] < shown.beats[n] - seconds) n--;
    return `${shown.told.words[shown.word[n]]}, asked at ${shown.beats[n].toFixed(2)} s, took ${shown.seconds(n).toFixed(4)} s`;
  },
};

view.drawers.push(() => plot.draw());
