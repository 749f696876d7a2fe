"use strict";
/* One unit cell on a 2D canvas: shaded balls and sticks drawn from back to front (painter's
   algorithm). No WebGL, as browsers allow about 16 WebGL views on a page and a gallery has more.
   A scene is what Scene.to_dict() writes; `elements` is symbol, colour, radius, name by number.
   Which atoms, bonds and faces are drawn follows the rules of drawing.py; a test compares both. */
const CrystalCell = (() => {
  const BOND_RADIUS = 0.11, FOG = 0.4, LEVELS = 8, EDGE_PIECES = 8, FACE = 0.42;
  const BORDER = 0.15, IN_PLANE = 0.02, MOST_DRAWN = 20000;
  const SHADES = [[0, 0.85], [0.12, 0.5], [0.35, 0.08], [0.6, -0.08], [0.82, -0.3], [1, -0.52]];
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
  const minus = (a, b) => a.map((x, k) => x - b[k]);
  const combine = (f, rows) => [0, 1, 2].map(k =>
    f[0] * rows[0][k] + f[1] * rows[1][k] + f[2] * rows[2][k]);
  const inverse = m => { // of three rows
    const [a, b, c] = m, det = dot(a, cross(b, c));
    const columns = [cross(b, c), cross(c, a), cross(a, b)].map(v => v.map(x => x / det));
    return [0, 1, 2].map(k => columns.map(v => v[k]));
  };
  const heights = rows => {
    const inv = inverse(rows);
    return [0, 1, 2].map(k => 1 / Math.hypot(...inv.map(r => r[k])));
  };
  const safe = text => String(text).replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`);

  /* Faces of the convex hull of a few points; corners of one plane make one face. */
  function hullFaces(points) {
    const n = points.length, faces = new Map();
    const middle = [0, 1, 2].map(k => points.reduce((s, p) => s + p[k], 0) / n);
    const reach = Math.max(...points.map(p => Math.max(...minus(p, middle).map(Math.abs)))) || 1;
    for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) for (let k = j + 1; k < n; k++) {
      let normal = cross(minus(points[j], points[i]), minus(points[k], points[i]));
      const length = Math.hypot(...normal);
      if (length < 1e-6 * reach * reach) continue;
      normal = normal.map(x => x / length);
      let height = points.map(p => dot(minus(p, points[i]), normal));
      if (height.some(h => h > IN_PLANE * reach)) {
        normal = normal.map(x => -x); height = height.map(h => -h);
      }
      const flat = height.map(h => Math.abs(h) <= IN_PLANE * reach);
      if (height.some(h => h > IN_PLANE * reach) || flat.every(Boolean)) continue;
      const corners = [...points.keys()].filter(c => flat[c]), key = corners.join();
      if (faces.has(key)) continue;
      const centre = [0, 1, 2].map(c => corners.reduce((s, p) => s + points[p][c], 0) / corners.length);
      const right = unit(minus(points[i], centre)), up = cross(normal, right);
      const angle = c => { const v = minus(points[c], centre); return Math.atan2(dot(v, up), dot(v, right)); };
      faces.set(key, corners.sort((p, q) => angle(p) - angle(q)));
    }
    return [...faces.values()];
  }

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
    SHADES.forEach(([at, t]) => ramp.addColorStop(at, shade(t)));
    pen.fillStyle = ramp;
    pen.beginPath(); pen.arc(64, 64, 63, 0, 2 * Math.PI); pen.fill();
    sprites.set(key, tile);
    return tile;
  }

  class Cell {
    constructor(canvas, scene, elements, options = {}) {
      this.canvas = canvas; this.elements = elements; this.options = options;
      this.zoom = 1; this.pointers = new Map(); this.picked = []; this.cursor = -1;
      this.pen = canvas.getContext("2d");
      this.setScene(scene);
      this.stop = new AbortController();
      const on = (name, f, more = {}) =>
        canvas.addEventListener(name, f, { signal: this.stop.signal, ...more });
      on("pointerdown", e => this.down(e));
      on("pointermove", e => this.move(e));
      on("pointerup", e => this.up(e));
      on("pointercancel", e => this.pointers.delete(e.pointerId));
      on("wheel", e => this.wheel(e), { passive: false });
      on("keydown", e => this.key(e));
      on("dblclick", () => this.reset());
      dark.addEventListener("change", () => { sprites.clear(); mixes.clear(); this.draw(); },
        { signal: this.stop.signal });
      this.sizes = new ResizeObserver(() => this.paint());
      this.sizes.observe(canvas);
    }

    setScene(scene) {
      const first = !this.scene, c = scene.cell, look = scene.look || {};
      this.scene = scene;
      this.lattice = [c.slice(0, 3), c.slice(3, 6), c.slice(6, 9)];
      this.halos = scene.halos || null;
      if (first) {
        this.which = look.cell === "given" ? scene.boxes.length - 1 : 0;
        this.repeat = look.supercell || [1, 1, 1];
        this.bonds = look.bonds !== false; this.images = look.images !== false;
        this.complete = "complete" in look ? look.complete : !scene.bare;
        this.polyhedra = Boolean(look.polyhedra); this.labels = Boolean(look.labels);
      }
      this.which = Math.min(this.which, scene.boxes.length - 1);
      this.build();
      if (first) this.look();
    }

    /* The view that the scene asks for. */
    look() {
      const axis = "abc".indexOf((this.scene.look || {}).direction || "-");
      this.matrix = this.scene.boxes[this.which].view.slice();
      if (axis >= 0) this.along(axis);
      this.draw();
    }

    /* What is drawn: atoms in the box, what completes them, bonds, faces. */
    build() {
      const { scene, repeat } = this, box = scene.boxes[this.which], n = scene.z.length;
      const axes = box.axes ? [0, 3, 6].map(k => box.axes.slice(k, k + 3))
        : [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
      const origin = box.origin || [0, 0, 0], inv = inverse(axes);
      this.rows = axes.map(a => combine(a, this.lattice));
      const gaps = heights(this.rows).map(h => Math.min(BORDER / h, 0.25));
      const ends = [...Array(8).keys()].map(k => combine([k & 1, k >> 1 & 1, k >> 2 & 1]
        .map((x, j) => x * repeat[j]), axes).map((x, j) => x + origin[j]));
      const low = [0, 1, 2].map(k => Math.floor(Math.min(...ends.map(e => e[k])) - 1.01));
      const high = [0, 1, 2].map(k => Math.ceil(Math.max(...ends.map(e => e[k])) + 0.01));
      const home = [], near = [];
      for (let x = low[0]; x <= high[0]; x++) for (let y = low[1]; y <= high[1]; y++)
        for (let z = low[2]; z <= high[2]; z++) for (let i = 0; i < n; i++) {
          const f = combine([scene.frac[3 * i] + x - origin[0], scene.frac[3 * i + 1] + y - origin[1],
            scene.frac[3 * i + 2] + z - origin[2]], inv);
          if (f.every((v, k) => v >= -gaps[k] && v < repeat[k] - gaps[k])) home.push([i, x, y, z]);
          else if (f.every((v, k) => v > -gaps[k] && v < repeat[k] + gaps[k]))
            near.push([i, x, y, z]);
        }
      const index = new Map(), put = a => { if (!index.has(a.join())) index.set(a.join(), index.size); };
      home.forEach(put);
      if (this.images) near.forEach(put);
      this.home = home.length; this.inside = index.size;
      const around = Array.from({ length: n }, () => []), list = scene.bonds;
      for (let k = 0; k < list.length; k += 6) {
        const [i, j, u, v, w, grow] = list.slice(k, k + 6);
        around[i].push([j, u, v, w, true, grow & 1]);
        around[j].push([i, -u, -v, -w, false, grow & 2]);
      }
      const centres = new Set(scene.centres), atoms = () => [...index.keys()].map(k => k.split(",").map(Number));
      if (this.images && (this.complete || this.polyhedra))
        for (const [i, x, y, z] of atoms().slice(0, this.inside)) {
          const whole = this.polyhedra && centres.has(i);
          for (const [j, u, v, w, , grow] of around[i])
            if (whole || (this.complete && grow)) put([j, x + u, y + v, z + w]);
        }
      this.atoms = atoms().map(([i, x, y, z]) => {
        const f = [scene.frac[3 * i] + x, scene.frac[3 * i + 1] + y, scene.frac[3 * i + 2] + z];
        return { i, n: [x, y, z], z: scene.z[i], p: combine(f, this.lattice), r:
          (this.elements[scene.z[i]] || [0, 0, 0.5])[2], f: combine(minus(f, origin), inv) };
      });
      this.pairs = []; this.faces = [];
      this.atoms.forEach((a, here) => {
        const there = around[a.i].map(([j, u, v, w]) => {
          const k = index.get([j, a.n[0] + u, a.n[1] + v, a.n[2] + w].join());
          return k === undefined ? -1 : k;
        });
        around[a.i].forEach((b, k) => {
          if (b[4] && there[k] >= 0 && Math.min(here, there[k]) < this.inside)
            this.pairs.push([here, there[k]]);
        });
        if (this.polyhedra && here < this.inside && centres.has(a.i) && !there.includes(-1))
          for (const face of hullFaces(there.map(k => this.atoms[k].p)))
            this.faces.push([here, face.map(k => there[k])]);
      });
      const place = f => combine(f.map((x, k) => x * repeat[k]), this.rows)
        .map((x, k) => x + combine(origin, this.lattice)[k]);
      const corners = [...Array(8).keys()].map(k => place([k & 1, k >> 1 & 1, k >> 2 & 1]));
      this.edges = [];
      for (let k = 0; k < 8; k++) for (const bit of [1, 2, 4])
        if (!(k & bit)) this.edges.push([corners[k], corners[k | bit]]);
      this.pieces = null;
      this.centre = place([0.5, 0.5, 0.5]);
      const reach = (p, r) => Math.hypot(...minus(p, this.centre)) + r;
      this.extent = Math.max(...corners.map(p => reach(p, 0)),
        ...this.atoms.map(a => reach(a.p, a.r)), 1);
      const view = scene.boxes[this.which].view; // filled in this view; others may need to zoom
      this.span = [0, 1].map(k => 2.16 * Math.max(1,
        ...corners.map(p => Math.abs(times(view, minus(p, this.centre))[k])),
        ...this.atoms.map(a => Math.abs(times(view, minus(a.p, this.centre))[k]) + a.r)));
      this.picked = []; this.cursor = -1;
      this.say("");
      if (this.onfacts) this.onfacts(this.facts());
      if (this.matrix) this.draw();
    }

    /* Atoms, edges, angles and volume of the shown cell, in words. */
    facts() {
      const size = this.rows.map(v => Math.hypot(...v)), angle = (i, j) => (180 / Math.PI *
        Math.acos(Math.max(-1, Math.min(1, dot(this.rows[i], this.rows[j]) / size[i] / size[j]))));
      const volume = Math.abs(dot(this.rows[0], cross(this.rows[1], this.rows[2])));
      const many = this.repeat[0] * this.repeat[1] * this.repeat[2];
      return `${Math.round(this.home / many)} atoms · a, b, c = ` +
        `${size.map(x => x.toFixed(3)).join(", ")} Å · α, β, γ = ` +
        `${[angle(1, 2), angle(0, 2), angle(0, 1)].map(x => x.toFixed(2)).join(", ")}° · ` +
        `${volume.toFixed(2)} Å³`;
    }

    fits(repeat) {
      const now = this.repeat[0] * this.repeat[1] * this.repeat[2];
      return this.home / now * repeat ** 3 <= MOST_DRAWN / 4;
    }

    set(name, value) {
      const turned = name === "which";
      this[name] = value;
      this.build();
      if (turned) this.look();
    }

    reset() { this.zoom = 1; this.picked = []; this.say(""); this.look(); }

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
      this.start = [e.clientX, e.clientY]; this.still = this.pointers.size === 1;
    }

    up(e) {
      if (!this.pointers.delete(e.pointerId) || !this.still || !this.options.label) return;
      const found = this.under(e);
      if (found >= 0) this.pick(found);
      else if (this.picked.length) { this.picked = []; this.say(""); this.draw(); }
    }

    move(e) {
      const before = this.pointers.get(e.pointerId);
      if (!before) { this.hover(e); return; }
      const now = [e.clientX, e.clientY], others = [...this.pointers.keys()]
        .filter(id => id !== e.pointerId);
      if (Math.hypot(now[0] - this.start[0], now[1] - this.start[1]) > 4) this.still = false;
      if (others.length) {
        const o = this.pointers.get(others[0]);
        const gap = p => Math.hypot(p[0] - o[0], p[1] - o[1]) || 1;
        this.scaleBy(gap(now) / gap(before));
      } else if (!this.still)
        this.rotate((now[0] - before[0]) * 0.011, (now[1] - before[1]) * 0.011);
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
        ...(this.options.label && { n: () => this.step(1), p: () => this.step(-1),
          Enter: () => { if (this.cursor >= 0) this.pick(this.cursor); } }),
      };
      if (turns[e.key]) { e.preventDefault(); turns[e.key](); }
    }

    /* -- naming and measuring ------------------------------------------------------------- */

    say(text) { if (this.options.label) this.options.label.textContent = text; }

    name(k) {
      const a = this.atoms[k];
      return `${(this.elements[a.z] || ["?"])[0]} ${a.i + 1}`;
    }

    under(e) {
      const area = this.canvas.getBoundingClientRect();
      const x = e.clientX - area.left, y = e.clientY - area.top, hits = this.hits || [];
      for (let k = hits.length - 1; k >= 0; k--) {
        const [hx, hy, hr, atom] = hits[k];
        if (Math.hypot(x - hx, y - hy) <= Math.max(hr, 6)) return atom;
      }
      return -1;
    }

    hover(e) {
      if (!this.options.label || this.picked.length) return;
      const k = this.under(e);
      this.say(k < 0 ? "" : this.where(k));
    }

    where(k) {
      return `${this.name(k)} (${this.atoms[k].f.map(v => (v + 0).toFixed(3)).join(", ")})`;
    }

    step(by) {
      const n = this.atoms.length;
      if (!n) return;
      this.cursor = this.cursor < 0 ? (by > 0 ? 0 : n - 1) : (this.cursor + by + n) % n;
      if (!this.picked.length) this.say(this.where(this.cursor));
      this.draw();
    }

    /* One atom more: two give a distance, three an angle, a fourth begins anew. */
    pick(k) {
      if (this.picked.length === 3 || this.picked.includes(k)) this.picked = [];
      this.picked.push(k);
      const [i, j, l] = this.picked, p = this.picked.map(a => this.atoms[a].p);
      const far = (a, b) => Math.hypot(...minus(a, b)).toFixed(3);
      if (p.length === 1) this.say(`${this.where(i)}; click another atom for a distance`);
      else if (p.length === 2)
        this.say(`${this.name(i)} – ${this.name(j)}: ${far(p[0], p[1])} Å; a third atom gives an angle`);
      else {
        const u = unit(minus(p[0], p[1])), v = unit(minus(p[2], p[1]));
        const angle = 180 / Math.PI * Math.acos(Math.max(-1, Math.min(1, dot(u, v))));
        this.say(`${this.name(i)} – ${this.name(j)} – ${this.name(l)}: ${angle.toFixed(2)}°; ` +
          `${far(p[0], p[1])} and ${far(p[1], p[2])} Å`);
      }
      this.draw();
    }

    /* -- drawing -------------------------------------------------------------------------- */

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
      this.render(pen, w, h);
    }

    /* Pixels of a point: x, y downwards, depth in Å. */
    projector(w, h) {
      const scale = this.zoom * Math.min(w / this.span[0], h / this.span[1],
        0.75 * Math.min(w, h) / this.extent);
      const put = p => {
        const v = times(this.matrix, minus(p, this.centre));
        return [w / 2 + v[0] * scale, h / 2 - v[1] * scale, v[2]];
      };
      return [put, scale];
    }

    /* Everything to be drawn, from back to front: depth, kind, and what it needs. */
    jobs(put, scale) {
      const jobs = [], at = this.atoms.map(a => put(a.p));
      at.forEach((q, k) => jobs.push([q[2], 0, q, k]));
      if (this.bonds) this.queueBonds(jobs, at, scale);
      for (const [p, q] of this.visibleEdges()) {
        const s = put(p), t = put(q);
        jobs.push([(s[2] + t[2]) / 2, 2, s, t]);
      }
      for (const [centre, face] of this.faces)
        jobs.push([face.reduce((sum, k) => sum + at[k][2], 0) / face.length, 3,
          face.map(k => at[k]), this.colour(centre)]);
      return jobs.sort((p, q) => p[0] - q[0]);
    }

    colour(k) { return (this.elements[this.atoms[k].z] || ["?", "#999999"])[1]; }

    level(z) {
      return Math.max(0, Math.min(LEVELS, Math.round(LEVELS * (0.5 - z / (2 * this.extent)))));
    }

    render(pen, w, h) {
      const [put, scale] = this.projector(w, h), line = dark.matches ? "#a7adba" : "#5b606c";
      this.hits = [];
      pen.lineCap = "butt"; pen.lineJoin = "round";
      for (const [z, kind, p, q, hex] of this.jobs(put, scale)) {
        const fog = this.level(z);
        if (kind === 0) {
          const r = this.atoms[q].r * scale, c = this.colour(q);
          pen.drawImage(ball(c, fog), p[0] - r, p[1] - r, 2 * r, 2 * r);
          if (this.halos) {  // the spread of an uncertain site, beyond its sphere
            pen.globalAlpha = 0.33; pen.fillStyle = c;
            pen.beginPath(); pen.arc(p[0], p[1], r + this.halos[this.atoms[q].i] * scale, 0,
              2 * Math.PI);
            pen.fill(); pen.globalAlpha = 1;
          }
          if (this.labels && r > 4) this.label(pen, p, q, r);
          this.hits.push([p[0], p[1], r, q]);
        } else if (kind === 1) {
          const width = Math.max(1.5, 2 * BOND_RADIUS * scale);
          for (const [part, light] of [[1, -0.42], [0.66, -0.08], [0.24, 0.42]]) {
            pen.strokeStyle = faded(hex, fog, light); pen.lineWidth = width * part;
            pen.beginPath(); pen.moveTo(p[0], p[1]); pen.lineTo(q[0], q[1]); pen.stroke();
          }
        } else if (kind === 2) {
          pen.strokeStyle = faded(line, fog, 0); pen.lineWidth = 1.3;
          pen.beginPath(); pen.moveTo(p[0], p[1]); pen.lineTo(q[0], q[1]); pen.stroke();
        } else {
          pen.beginPath();
          p.forEach((c, k) => k ? pen.lineTo(c[0], c[1]) : pen.moveTo(c[0], c[1]));
          pen.closePath();
          pen.globalAlpha = FACE; pen.fillStyle = q; pen.fill(); pen.globalAlpha = 1;
          pen.strokeStyle = faded(q, fog, -0.35); pen.lineWidth = 0.9; pen.stroke();
        }
      }
      this.marks(pen, put, scale);
      this.triad(pen, h);
    }

    label(pen, p, k, r) {
      pen.font = `${Math.min(15, Math.max(8, r))}px system-ui, sans-serif`;
      pen.textAlign = "center"; pen.textBaseline = "middle"; pen.fillStyle = "#000000";
      pen.fillText((this.elements[this.atoms[k].z] || ["?"])[0], p[0], p[1]);
    }

    /* Rings around picked atoms, dashed lines between them, a thin ring at the cursor. */
    marks(pen, put, scale) {
      const ring = (k, more, width) => {
        const q = put(this.atoms[k].p);
        pen.lineWidth = width;
        pen.beginPath(); pen.arc(q[0], q[1], this.atoms[k].r * scale + more, 0, 2 * Math.PI);
        pen.stroke();
      };
      pen.strokeStyle = dark.matches ? "#ffffff" : "#101218";
      if (this.cursor >= 0) ring(this.cursor, 5, 1.2);
      for (const k of this.picked) ring(k, 2, 2.2);
      pen.setLineDash([5, 4]); pen.lineWidth = 1.6;
      for (let k = 1; k < this.picked.length; k++) {
        const p = put(this.atoms[this.picked[k - 1]].p), q = put(this.atoms[this.picked[k]].p);
        pen.beginPath(); pen.moveTo(p[0], p[1]); pen.lineTo(q[0], q[1]); pen.stroke();
      }
      pen.setLineDash([]);
    }

    /* Pieces of the cell's edges that are not inside a ball. */
    visibleEdges() {
      if (this.pieces) return this.pieces;
      const pieces = [];
      for (const [p, q] of this.edges) {
        const d = q.map((x, k) => x - p[k]), dd = dot(d, d), covered = [];
        for (const a of this.atoms) {
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
      this.pieces = pieces.filter(([p, q]) => !this.onBond(mix(p, q, 0.5)));
      return this.pieces;
    }

    /* Whether a point of an edge lies in a bond, which then hides the edge. */
    onBond(p) {
      return this.bonds && this.pairs.some(([i, j]) => {
        const a = this.atoms[i].p, d = minus(this.atoms[j].p, a), f = minus(p, a);
        const t = dot(f, d) / dot(d, d);
        return t > 0 && t < 1 && Math.hypot(...minus(f, d.map(x => x * t))) < BOND_RADIUS / 2;
      });
    }

    queueBonds(jobs, at, scale) {
      for (const [i, j] of this.pairs) {
        const [p, q] = [at[i], at[j]], [a, b] = [this.atoms[i], this.atoms[j]];
        const length = Math.hypot((q[0] - p[0]) / scale, (q[1] - p[1]) / scale, q[2] - p[2]) || 1;
        const in_ = Math.sqrt(Math.max(a.r * a.r - BOND_RADIUS ** 2, 0)) / length;
        const out = 1 - Math.sqrt(Math.max(b.r * b.r - BOND_RADIUS ** 2, 0)) / length;
        if (in_ >= out) continue;
        const s = mix(p, q, in_), t = mix(p, q, out), m = mix(s, t, 0.5);
        jobs.push([(s[2] + m[2]) / 2, 1, s, m, this.colour(i)]);
        jobs.push([(t[2] + m[2]) / 2, 1, m, t, this.colour(j)]);
      }
    }

    axes(h) {
      const size = h < 260 ? 13 : 22, x = size + 9, y = h - size - 9;
      const colours = dark.matches ? ["#ff8a80", "#7bd88f", "#82aaff"]
        : ["#b3261e", "#2b7a2b", "#1f4fb3"];
      return this.rows.map((row, k) => {
        const v = times(this.matrix, unit(row)), n = Math.hypot(v[0], v[1]) || 1;
        const far = n * size + 7;
        return { name: "abc"[k], colour: colours[k], x, y, to: [x + v[0] * size, y - v[1] * size],
          text: [x + v[0] / n * far, y - v[1] / n * far] };
      });
    }

    triad(pen, h) {
      pen.font = `${h < 260 ? 10 : 12}px system-ui, sans-serif`;
      pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineWidth = 1.4;
      for (const a of this.axes(h)) {
        pen.strokeStyle = pen.fillStyle = a.colour;
        pen.beginPath(); pen.moveTo(a.x, a.y); pen.lineTo(...a.to); pen.stroke();
        pen.fillText(a.name, ...a.text);
      }
    }

    /* -- files ---------------------------------------------------------------------------- */

    save(kind, content) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(content);
      link.download = `${(this.scene.title || "crystal").replace(/[^\w.-]+/g, "_")}.${kind}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 4000);
    }

    png() { // three times as fine as on the screen
      const sheet = document.createElement("canvas"), w = this.canvas.clientWidth;
      const h = this.canvas.clientHeight, pen = sheet.getContext("2d");
      sheet.width = 3 * w; sheet.height = 3 * h;
      pen.setTransform(3, 0, 0, 3, 0, 0);
      pen.fillStyle = css(paper()); pen.fillRect(0, 0, w, h);
      this.render(pen, w, h);
      sheet.toBlob(content => this.save("png", content));
    }

    /* The picture as it is seen, as shapes that can be scaled. */
    svg() {
      const w = this.canvas.clientWidth, h = this.canvas.clientHeight, defs = new Map(), body = [];
      const [put, scale] = this.projector(w, h), n = x => x.toFixed(2);
      const path = (p, q, colour, width) => `<path d="M${n(p[0])},${n(p[1])}L${n(q[0])},${n(q[1])}" ` +
        `stroke="${colour}" stroke-width="${n(width)}"/>`;
      const word = (text, p, colour, size) => `<text x="${n(p[0])}" y="${n(p[1] + size * 0.35)}" ` +
        `font-size="${n(size)}" text-anchor="middle" fill="${colour}">${safe(text)}</text>`;
      for (const [z, kind, p, q, hex] of this.jobs(put, scale)) {
        const fog = this.level(z);
        if (kind === 0) {
          const c = this.colour(q), id = `b${c.slice(1)}${fog}`, r = this.atoms[q].r * scale;
          if (!defs.has(id)) defs.set(id, `<radialGradient id="${id}" cx="0.46" cy="0.45" fx="0.36" ` +
            `fy="0.33" r="0.55">${SHADES.map(([at, t]) =>
              `<stop offset="${at}" stop-color="${faded(c, fog, t)}"/>`).join("")}</radialGradient>`);
          body.push(`<circle cx="${n(p[0])}" cy="${n(p[1])}" r="${n(r)}" fill="url(#${id})"/>`);
          if (this.halos) body.push(`<circle cx="${n(p[0])}" cy="${n(p[1])}" fill="${c}" r="${
            n(r + this.halos[this.atoms[q].i] * scale)}" fill-opacity="0.33"/>`);
          if (this.labels && r > 4) body.push(word((this.elements[this.atoms[q].z] || ["?"])[0], p,
            "#000000", Math.min(15, Math.max(8, r))));
        } else if (kind === 1) {
          for (const [part, light] of [[1, -0.42], [0.66, -0.08], [0.24, 0.42]])
            body.push(path(p, q, faded(hex, fog, light), part * Math.max(1.5, 2 * BOND_RADIUS * scale)));
        } else if (kind === 2) body.push(path(p, q, faded("#5b606c", fog, 0), 1.3));
        else body.push(`<polygon points="${p.map(c => `${n(c[0])},${n(c[1])}`).join(" ")}" fill="${q}" ` +
          `fill-opacity="${FACE}" stroke="${faded(q, fog, -0.35)}" stroke-width="0.9"/>`);
      }
      for (const a of this.axes(h)) body.push(path([a.x, a.y], a.to, a.colour, 1.4),
        word(a.name, a.text, a.colour, h < 260 ? 10 : 12));
      return `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" ` +
        `font-family="Helvetica, Arial, sans-serif"><title>${safe(this.scene.title)}</title><defs>` +
        `${[...defs.values()].join("")}</defs><rect width="${w}" height="${h}" fill="${css(paper())}"/>` +
        `<g fill="none">${body.join("\n")}</g></svg>\n`;
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
    const choice = (label, entries, now, act) => {
      const s = document.createElement("select");
      s.setAttribute("aria-label", label); s.title = label;
      entries.forEach(([text, usable], k) => {
        const o = document.createElement("option");
        o.value = String(k); o.textContent = text; o.disabled = !usable; s.append(o);
      });
      s.value = String(now);
      s.addEventListener("change", () => act(Number(s.value)));
      place.append(s);
    };
    "abc".split("").forEach((t, k) => button(t, `Look along ${t}`, () => cell.along(k)));
    button("⟲", "Turn left", () => cell.rotate(-Math.PI / 12, 0));
    button("⟳", "Turn right", () => cell.rotate(Math.PI / 12, 0));
    button("+", "Larger", () => cell.scaleBy(1.2));
    button("−", "Smaller", () => cell.scaleBy(1 / 1.2));
    const flip = (text, label, name) => button(text, label, b => {
      cell.set(name, !cell[name]);
      b.setAttribute("aria-pressed", String(cell[name]));
    }).setAttribute("aria-pressed", String(cell[name]));
    flip("Bonds", "Bonds", "bonds");
    flip("Border", "Border: atoms on faces, edges and corners repeated", "images");
    flip("Neighbours", "Neighbours: coordination completed outside of the cell", "complete");
    flip("Polyhedra", "Polyhedra around cations", "polyhedra");
    flip("Labels", "Labels: symbols on the atoms", "labels");
    if (cell.scene.boxes.length > 1)
      choice("Cell shown", [["Conventional cell", true], ["Cell as given", true]], cell.which,
        k => cell.set("which", k));
    const whole = cell.repeat.every(n => n === cell.repeat[0]) ? cell.repeat[0] : 0;
    choice("Supercell", [[whole ? "1 × 1 × 1" : cell.repeat.join(" × "), true],
      ...[2, 3, 4].map(n => [`${n} × ${n} × ${n}`, cell.fits(n)])], Math.max(whole - 1, 0),
    k => cell.set("repeat", k || whole ? [k + 1, k + 1, k + 1] : cell.scene.look.supercell));
    button("Reset", "Reset the view", () => cell.reset());
    button("SVG", "Save as SVG, for papers", () =>
      cell.save("svg", new Blob([cell.svg()], { type: "image/svg+xml" })));
    button("PNG", "Save as PNG, three times as fine as on the screen", () => cell.png());
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
