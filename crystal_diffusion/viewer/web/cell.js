"use strict";
/* One unit cell on a 2D canvas: shaded balls and sticks drawn from back to front (painter's
   algorithm). No WebGL, as browsers allow about 16 WebGL views on a page and a gallery has more.
   A scene is what Scene.to_dict() writes; `elements` is symbol, colour, radius, name by number. */
const CrystalCell = (() => {
  const BOND_RADIUS = 0.11, FOG = 0.4, LEVELS = 8, EDGE_PIECES = 8;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const sprites = new Map(), mixes = new Map();

  const rgb = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
  const css = c => `rgb(${c.map(v => Math.round(v)).join(",")})`;
  const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);
  const paper = () => dark.matches ? [24, 26, 31] : [255, 255, 255];
  const times = (m, v) => [0, 3, 6].map(r => m[r] * v[0] + m[r + 1] * v[1] + m[r + 2] * v[2]);
  const product = (m, n) => [0, 3, 6].flatMap(r => [0, 1, 2].map(c =>
    m[r] * n[c] + m[r + 1] * n[c + 3] + m[r + 2] * n[c + 6]));
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2],
    a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const unit = v => { const n = Math.hypot(...v) || 1; return v.map(x => x / n); };

  function faded(hex, level, light) {
    const key = hex + level + light;
    if (!mixes.has(key)) {
      let c = rgb(hex);
      c = light < 0 ? mix(c, [0, 0, 0], -light) : mix(c, [255, 255, 255], light);
      mixes.set(key, css(mix(c, paper(), FOG * level / LEVELS)));
    }
    return mixes.get(key);
  }

  function ball(hex, level) {
    const key = hex + level;
    if (sprites.has(key)) return sprites.get(key);
    const size = 128, tile = document.createElement("canvas");
    tile.width = tile.height = size;
    const pen = tile.getContext("2d"), c = rgb(hex), ground = paper();
    const shade = t => css(mix(t < 0 ? mix(c, [0, 0, 0], -t) : mix(c, [255, 255, 255], t),
      ground, FOG * level / LEVELS));
    const ramp = pen.createRadialGradient(46, 42, 2, 60, 58, 70);
    [[0, 0.85], [0.12, 0.5], [0.35, 0.08], [0.6, -0.08], [0.82, -0.3], [1, -0.52]]
      .forEach(([at, t]) => ramp.addColorStop(at, shade(t)));
    pen.fillStyle = ramp;
    pen.beginPath(); pen.arc(64, 64, 63, 0, 2 * Math.PI); pen.fill();
    sprites.set(key, tile);
    return tile;
  }

  class Cell {
    constructor(canvas, scene, elements, options = {}) {
      this.canvas = canvas; this.elements = elements; this.options = options;
      this.bonds = true; this.images = true; this.zoom = 1; this.pointers = new Map();
      this.pen = canvas.getContext("2d");
      this.setScene(scene);
      this.stop = new AbortController();
      const on = (name, f, more = {}) =>
        canvas.addEventListener(name, f, { signal: this.stop.signal, ...more });
      on("pointerdown", e => this.down(e));
      on("pointermove", e => this.move(e));
      for (const name of ["pointerup", "pointercancel"])
        on(name, e => this.pointers.delete(e.pointerId));
      on("wheel", e => this.wheel(e), { passive: false });
      on("keydown", e => this.key(e));
      on("dblclick", () => this.reset());
      dark.addEventListener("change", () => { sprites.clear(); mixes.clear(); this.draw(); },
        { signal: this.stop.signal });
      this.sizes = new ResizeObserver(() => this.paint());
      this.sizes.observe(canvas);
    }

    setScene(scene) {
      const first = !this.scene, cell = scene.cell, n = scene.z.length;
      this.scene = scene;
      this.rows = [cell.slice(0, 3), cell.slice(3, 6), cell.slice(6, 9)];
      const place = f => [0, 1, 2].map(k =>
        f[0] * cell[k] + f[1] * cell[3 + k] + f[2] * cell[6 + k]);
      this.atoms = [];
      this.halos = scene.halos || null;
      for (let i = 0; i < n; i++) {
        const f = scene.frac.slice(3 * i, 3 * i + 3);
        this.atoms.push({ i, f, p: place(f), z: scene.z[i] });
      }
      for (let k = 0; k < scene.images.length; k += 4) {
        const i = scene.images[k];
        const f = [0, 1, 2].map(j => scene.frac[3 * i + j] + scene.images[k + 1 + j]);
        this.atoms.push({ i, f, p: place(f), z: scene.z[i] });
      }
      const corners = [];
      for (let k = 0; k < 8; k++) corners.push(place([k & 1, k >> 1 & 1, k >> 2 & 1]));
      this.edges = [];
      for (let k = 0; k < 8; k++) for (const bit of [1, 2, 4])
        if (!(k & bit)) this.edges.push([corners[k], corners[k | bit]]);
      this.pieces = null;
      this.centre = place([0.5, 0.5, 0.5]);
      const reach = (p, r) => Math.hypot(...p.map((x, k) => x - this.centre[k])) + r;
      for (const a of this.atoms) a.r = (this.elements[a.z] || [0, 0, 0.5])[2];
      this.extent = Math.max(...corners.map(p => reach(p, 0)),
        ...this.atoms.map(a => reach(a.p, a.r)), 1);
      if (first) this.matrix = scene.view.slice();
      this.draw();
    }

    reset() { this.matrix = this.scene.view.slice(); this.zoom = 1; this.draw(); }

    rotate(right, down, roll = 0) {
      const [a, b, c] = [Math.cos(right), Math.cos(down), Math.cos(roll)];
      const [s, t, u] = [Math.sin(right), Math.sin(down), Math.sin(roll)];
      this.matrix = product([c, -u, 0, u, c, 0, 0, 0, 1],
        product([1, 0, 0, 0, b, -t, 0, t, b], product([a, 0, s, 0, 1, 0, -s, 0, a], this.matrix)));
      this.draw();
    }

    along(axis) {
      const eye = unit(this.rows[axis]), top = this.rows[axis === 2 ? 1 : 2];
      const along = dot(top, eye), up = unit(top.map((x, k) => x - along * eye[k]));
      this.matrix = [...cross(up, eye), ...up, ...eye];
      this.draw();
    }

    scaleBy(factor) { this.zoom = Math.min(8, Math.max(0.3, this.zoom * factor)); this.draw(); }

    down(e) {
      if (e.pointerType === "mouse" && e.button !== 0) return;
      this.canvas.setPointerCapture(e.pointerId);
      this.pointers.set(e.pointerId, [e.clientX, e.clientY]);
    }

    move(e) {
      const before = this.pointers.get(e.pointerId);
      if (!before) { this.hover(e); return; }
      const now = [e.clientX, e.clientY], others = [...this.pointers.keys()]
        .filter(id => id !== e.pointerId);
      if (others.length) {
        const o = this.pointers.get(others[0]);
        const gap = p => Math.hypot(p[0] - o[0], p[1] - o[1]) || 1;
        this.scaleBy(gap(now) / gap(before));
      } else this.rotate((now[0] - before[0]) * 0.011, (now[1] - before[1]) * 0.011);
      this.pointers.set(e.pointerId, now);
    }

    wheel(e) { // only once the cell is in focus: a page must scroll past it
      if (document.activeElement !== this.canvas && !e.ctrlKey) return;
      e.preventDefault();
      this.scaleBy(Math.exp(-e.deltaY * 0.0015));
    }

    key(e) {
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      const step = Math.PI / 18, turns = {
        ArrowLeft: () => e.shiftKey ? this.rotate(0, 0, step) : this.rotate(-step, 0),
        ArrowRight: () => e.shiftKey ? this.rotate(0, 0, -step) : this.rotate(step, 0),
        ArrowUp: () => this.rotate(0, -step), ArrowDown: () => this.rotate(0, step),
        "+": () => this.scaleBy(1.15), "=": () => this.scaleBy(1.15),
        "-": () => this.scaleBy(1 / 1.15), Home: () => this.reset(), "0": () => this.reset(),
        a: () => this.along(0), b: () => this.along(1), c: () => this.along(2),
      };
      if (turns[e.key]) { e.preventDefault(); turns[e.key](); }
    }

    hover(e) {
      if (!this.options.label || !this.hits) return;
      const box = this.canvas.getBoundingClientRect();
      const x = e.clientX - box.left, y = e.clientY - box.top;
      let text = "";
      for (let k = this.hits.length - 1; k >= 0; k--) {
        const [hx, hy, hr, a] = this.hits[k];
        if (Math.hypot(x - hx, y - hy) <= hr) {
          const name = (this.elements[a.z] || ["?"])[0];
          text = `${name} ${a.i + 1} (${a.f.map(v => v.toFixed(3)).join(", ")})`;
          break;
        }
      }
      this.options.label.textContent = text;
    }

    draw() {
      if (this.frame) return;
      this.frame = requestAnimationFrame(() => { this.frame = 0; this.paint(); });
    }

    paint() {
      const { canvas, pen } = this, ratio = Math.min(devicePixelRatio || 1, 2);
      const w = canvas.clientWidth, h = canvas.clientHeight;
      if (!w || !h) return;
      if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
        canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
      }
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, w, h);
      const scale = this.zoom * Math.min(w, h) / (2 * this.extent);
      const put = p => {
        const v = times(this.matrix, p.map((x, k) => x - this.centre[k]));
        return [w / 2 + v[0] * scale, h / 2 - v[1] * scale, v[2]];
      };
      const level = z => Math.max(0, Math.min(LEVELS,
        Math.round(LEVELS * (0.5 - z / (2 * this.extent)))));
      const jobs = [], count = this.images ? this.atoms.length : this.scene.z.length;
      const at = this.atoms.slice(0, count).map(a => put(a.p));
      this.hits = [];
      at.forEach((q, k) => jobs.push([q[2], 0, q, this.atoms[k]]));
      if (this.bonds) this.queueBonds(jobs, at, count, scale);
      const line = dark.matches ? "#a7adba" : "#5b606c";
      for (const [p, q] of this.visibleEdges(count)) {
        const s = put(p), t = put(q);
        jobs.push([(s[2] + t[2]) / 2, 2, s, t]);
      }
      jobs.sort((p, q) => p[0] - q[0]);
      pen.lineCap = "butt";
      for (const [z, kind, p, q, hex] of jobs) {
        const fog = level(z);
        if (kind === 0) {
          const r = q.r * scale, hexc = (this.elements[q.z] || ["?", "#999999"])[1];
          pen.drawImage(ball(hexc, fog), p[0] - r, p[1] - r, 2 * r, 2 * r);
          if (this.halos) {  // the spread of an uncertain site, beyond its sphere
            pen.globalAlpha = 0.33; pen.fillStyle = hexc;
            pen.beginPath(); pen.arc(p[0], p[1], r + this.halos[q.i] * scale, 0, 2 * Math.PI);
            pen.fill(); pen.globalAlpha = 1;
          }
          this.hits.push([p[0], p[1], r, q]);
        } else if (kind === 1) {
          const width = Math.max(1.5, 2 * BOND_RADIUS * scale);
          for (const [part, light] of [[1, -0.42], [0.66, -0.08], [0.24, 0.42]]) {
            pen.strokeStyle = faded(hex, fog, light); pen.lineWidth = width * part;
            pen.beginPath(); pen.moveTo(p[0], p[1]); pen.lineTo(q[0], q[1]); pen.stroke();
          }
        } else {
          pen.strokeStyle = faded(line, fog, 0); pen.lineWidth = 1.3;
          pen.beginPath(); pen.moveTo(p[0], p[1]); pen.lineTo(q[0], q[1]); pen.stroke();
        }
      }
      this.triad(pen, h);
    }

    /* Pieces of the cell's edges that are not inside a ball. */
    visibleEdges(count) {
      if (this.pieces && this.pieces.count === count) return this.pieces;
      const pieces = [];
      for (const [p, q] of this.edges) {
        const d = q.map((x, k) => x - p[k]), dd = dot(d, d), covered = [];
        for (const a of this.atoms.slice(0, count)) {
          const f = p.map((x, k) => x - a.p[k]), b = dot(f, d), root = b * b - dd *
            (dot(f, f) - a.r * a.r);
          if (root > 0) covered.push([(-b - Math.sqrt(root)) / dd, (-b + Math.sqrt(root)) / dd]);
        }
        covered.sort((x, y) => x[0] - y[0]);
        let from = 0;
        for (const [start, end] of [...covered, [1, 1]]) {
          const to = Math.min(1, start), parts = Math.ceil((to - from) * EDGE_PIECES);
          for (let k = 0; k < parts; k++)
            pieces.push([mix(p, q, from + (to - from) * k / parts),
              mix(p, q, from + (to - from) * (k + 1) / parts)]);
          from = Math.max(from, end);
        }
      }
      pieces.count = count;
      this.pieces = pieces;
      return pieces;
    }

    queueBonds(jobs, at, count, scale) {
      const list = this.scene.bonds;
      for (let k = 0; k < list.length; k += 2) {
        const [i, j] = [list[k], list[k + 1]];
        if (i >= count || j >= count) continue;
        const [p, q] = [at[i], at[j]], [a, b] = [this.atoms[i], this.atoms[j]];
        const length = Math.hypot((q[0] - p[0]) / scale, (q[1] - p[1]) / scale, q[2] - p[2]) || 1;
        const in_ = Math.sqrt(Math.max(a.r * a.r - BOND_RADIUS ** 2, 0)) / length;
        const out = 1 - Math.sqrt(Math.max(b.r * b.r - BOND_RADIUS ** 2, 0)) / length;
        if (in_ >= out) continue;
        const s = mix(p, q, in_), t = mix(p, q, out), m = mix(s, t, 0.5);
        jobs.push([(s[2] + m[2]) / 2, 1, s, m, (this.elements[a.z] || ["", "#999999"])[1]]);
        jobs.push([(t[2] + m[2]) / 2, 1, m, t, (this.elements[b.z] || ["", "#999999"])[1]]);
      }
    }

    triad(pen, h) {
      const size = h < 260 ? 13 : 22, x = size + 9, y = h - size - 9;
      const colours = dark.matches ? ["#ff8a80", "#7bd88f", "#82aaff"]
        : ["#b3261e", "#2b7a2b", "#1f4fb3"];
      pen.font = `${h < 260 ? 10 : 12}px system-ui, sans-serif`;
      pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineWidth = 1.4;
      this.rows.forEach((row, k) => {
        const v = times(this.matrix, unit(row));
        pen.strokeStyle = pen.fillStyle = colours[k];
        pen.beginPath(); pen.moveTo(x, y);
        pen.lineTo(x + v[0] * size, y - v[1] * size); pen.stroke();
        const n = Math.hypot(v[0], v[1]) || 1, far = n * size + 7;
        pen.fillText("abc"[k], x + v[0] / n * far, y - v[1] / n * far);
      });
    }

    png() {
      const link = document.createElement("a");
      link.href = this.canvas.toDataURL("image/png");
      link.download = `${this.scene.title || "crystal"}.png`;
      link.click();
    }

    dispose() {
      this.stop.abort(); this.sizes.disconnect();
      if (this.frame) cancelAnimationFrame(this.frame);
      this.canvas.width = this.canvas.height = 1; // gives the memory back
    }
  }

  /* Buttons for those without mouse and for touch. */
  function toolbar(place, cell) {
    const button = (text, label, act) => {
      const b = document.createElement("button");
      b.type = "button"; b.textContent = text; b.setAttribute("aria-label", label); b.title = label;
      b.addEventListener("click", () => act(b));
      place.append(b);
      return b;
    };
    "abc".split("").forEach((t, k) => button(t, `Look along ${t}`, () => cell.along(k)));
    button("⟲", "Turn left", () => cell.rotate(-Math.PI / 12, 0));
    button("⟳", "Turn right", () => cell.rotate(Math.PI / 12, 0));
    button("+", "Larger", () => cell.scaleBy(1.2));
    button("−", "Smaller", () => cell.scaleBy(1 / 1.2));
    const flip = (text, name) => button(text, `Show ${text.toLowerCase()}`, b => {
      cell[name] = !cell[name];
      b.setAttribute("aria-pressed", String(cell[name]));
      cell.draw();
    }).setAttribute("aria-pressed", "true");
    flip("Bonds", "bonds"); flip("Images", "images");
    button("Reset", "Reset the view", () => cell.reset());
    button("PNG", "Save this picture", () => cell.png());
  }

  /* Draw `<canvas data-scene="key">` while it is near the visible part of the page. */
  function lazily(root, sceneOf, elements) {
    const watch = new IntersectionObserver(entries => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting && !target.cell) {
          const scene = sceneOf(target.dataset.scene);
          if (scene) target.cell = new Cell(target, scene, elements);
        } else if (!isIntersecting && target.cell && document.activeElement !== target) {
          target.cell.dispose(); target.cell = null;
        }
      }
    }, { rootMargin: "200px" });
    root.querySelectorAll("canvas[data-scene]").forEach(c => watch.observe(c));
    return watch;
  }

  return { Cell, toolbar, lazily };
})();
