"use strict";
/* The one time axis: which seconds are shown, and all who draw by it. */

const report = JSON.parse(document.getElementById("report").textContent);
const picture = JSON.parse(document.getElementById("picture").textContent);

const view = {
  first: picture.span[0], last: picture.span[1],
  from: picture.span[0], to: picture.span[1],
  least: 0.05, // seconds that are shown at least
  drawers: [],
  queued: false,

  show(from, to) {
    const length = Math.min(Math.max(to - from, this.least), this.last - this.first);
    this.from = Math.min(Math.max(from, this.first), this.last - length);
    this.to = this.from + length;
    this.redraw();
  },

  zoom(factor, around) {
    const at = around === undefined ? (this.from + this.to) / 2 : around;
    this.show(at - (at - this.from) * factor, at + (this.to - at) * factor);
  },

  move(seconds) {
    const length = this.to - this.from;
    const from = Math.min(Math.max(this.from + seconds, this.first), this.last - length);
    this.show(from, from + length);
  },

  reset() { this.show(this.first, this.last); },

  redraw() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => { this.queued = false; this.draw(); });
  },

  draw() { for (const drawer of this.drawers) drawer(); },

  /* Steps of 1, 2 or 5 that leave about so many pixels between two marks. */
  step(width, apart) {
    const wanted = (this.to - this.from) * apart / Math.max(width, 1);
    const power = Math.pow(10, Math.floor(Math.log10(wanted)));
    return [1, 2, 5, 10].map(each => each * power).find(each => each >= wanted * 0.999);
  },

  marks(width, apart) {
    const step = this.step(width, apart), found = [];
    for (let n = Math.ceil(this.from / step - 1e-9); n * step <= this.to + 1e-9; n++) found.push(n * step);
    return { step, found };
  },
};

function instant(seconds, step) {
  const places = step >= 1 ? 0 : Math.min(4, Math.ceil(-Math.log10(step) - 1e-9));
  return seconds.toFixed(places);
}
