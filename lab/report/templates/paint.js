/* Colours of the style sheet on canvases.  Every tone differs in form too: height or hatching, not colour only. */

const paint = {
  style: null,
  hatches: new Map(),

  /* Read again before each drawing: dark, light and print have their own. */
  refresh() { this.style = getComputedStyle(document.documentElement); this.hatches.clear(); },

  colour(name) { return this.style.getPropertyValue("--" + name).trim(); },

  hatch(context, name, falling) {
    const key = name + falling;
    if (!this.hatches.has(key)) this.hatches.set(key, this.hatched(context, this.colour(name), falling));
    return this.hatches.get(key);
  },

  hatched(context, colour, falling) {
    const side = 6 * devicePixelRatio, tile = document.createElement("canvas");
    tile.width = tile.height = Math.round(side);
    const at = tile.getContext("2d"), edge = tile.width;
    at.strokeStyle = colour;
    at.lineWidth = 1.6 * devicePixelRatio;
    for (const offset of [-edge, 0, edge]) {
      at.beginPath();
      at.moveTo(offset, falling ? 0 : edge);
      at.lineTo(offset + edge, falling ? edge : 0);
      at.stroke();
    }
    return context.createPattern(tile, "repeat");
  },

  /* How a tone looks: filling, and which part of the lane's height it takes. */
  tone(context, tone) {
    switch (tone) {
      case "ok": return { fill: this.colour("ok"), height: 0.5 };
      case "failed": return { fill: this.colour("failed"), height: 1 };
      case "unknown": return { fill: this.hatch(context, "unknown", false), height: 0.9, edge: this.colour("unknown") };
      case "mixed": return { fill: this.hatch(context, "failed", false), height: 0.8, edge: this.colour("failed") };
      case "few": return { fill: this.colour("failed"), height: 0.8 };
      case "even": return { fill: this.colour("even"), height: 0.9 };
      case "odd": return { fill: this.colour("odd"), height: 0.9 };
      case "silent": return { fill: this.hatch(context, "gap", true), height: 0.6 };
      case "part": return { fill: this.colour("part"), height: 0.75 };
      case "calm": return { fill: this.colour("calm"), height: 0.9 };
      case "injecting": return { fill: this.hatch(context, "force", false), height: 0.9, edge: this.colour("force") };
      case "force": return { fill: this.colour("force"), height: 0.9 };
      case "healing": return { fill: this.hatch(context, "force", true), height: 0.9, edge: this.colour("force") };
      default: return { fill: this.colour("name" + this.number(tone)), height: 0.9 };
    }
  },

  /* The same name has the same colour in every lane. */
  names: [],
  number(name) {
    if (!this.names.includes(name)) this.names.push(name);
    return this.names.indexOf(name) % 6;
  },

  /* A canvas as large as it is shown, cleared; drawn on in pixels of the style sheet. */
  clean(canvas) {
    const ratio = Math.max(devicePixelRatio, document.documentElement.hasAttribute("data-print") ? 2 : 1);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height, x: seconds => (seconds - view.from) / (view.to - view.from) * width };
  },

  /* When faults were there, and where a phase begins, behind everything. */
  behind({ context, height, width, x }) {
    context.fillStyle = this.colour("shade");
    for (const [begin, end] of picture.marks) {
      const left = Math.max(0, x(begin)), right = Math.min(width, x(end));
      if (right > left) context.fillRect(left, 0, Math.max(1, right - left), height);
    }
    context.fillStyle = this.colour("line");
    for (const [begin] of picture.phases) context.fillRect(Math.round(x(begin)), 0, 1, height);
  },

  bar(context, tone, left, width, height) {
    const look = this.tone(context, tone === "mixed" && width < 8 ? "few" : tone), tall = Math.round(height * look.height), top = Math.round((height - tall) / 2);
    context.fillStyle = look.fill;
    context.fillRect(left, top, width, tall);
    if (look.edge && width > 3) {
      context.strokeStyle = look.edge;
      context.lineWidth = 1;
      context.strokeRect(left + 0.5, top + 0.5, width - 1, tall - 1);
    }
  },

  gap(context, left, width, height) {
    context.fillStyle = this.colour("gap");
    for (let at = left; at < left + width; at += 6) {
      context.fillRect(at, Math.round(height / 2) - 1, Math.min(3, left + width - at), 2);
    }
  },
};
