"use strict";
/* The report: one list of crystals, filtered and sorted once, shown as gallery and as table; a card
   for each. Needs cell.js. */
(() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const crystals = read("crystals-data"), strings = read("strings-data");
  const elements = read("elements"), columns = read("columns-data");
  const PAGE = 24, $ = id => document.getElementById(id);
  const body = document.querySelector("#crystals tbody");
  const lines = [...body.rows], heads = [...document.querySelectorAll("#crystals thead th")];
  const column = Object.fromEntries(columns.map(([key], k) => [key, k]));
  const value = (c, key) => key in column ? c.values[column[key]] : null;
  let order = crystals.map((_, k) => k), shown = PAGE, watch = null, open = -1, openCell = null;

  const make = (tag, text, more = {}) => {
    const e = Object.assign(document.createElement(tag), more);
    if (text !== undefined && text !== null) e.textContent = text;
    return e;
  };
  const formula = text => {
    const whole = document.createDocumentFragment();
    for (const part of String(text).split(/(?<=[A-Za-z)])(\d+(?:\.\d+)?)/))
      whole.append(/^\d/.test(part) ? make("sub", part) : part);
    return whole;
  };
  const group = symbol => { // P6_3/mmc
    const whole = document.createDocumentFragment();
    symbol.split(/_(\d)/).forEach((part, k) => whole.append(k % 2 ? make("sub", part) : part));
    return whole;
  };
  const minus = text => String(text).replace("-", "−");
  const state = () => (document.querySelector('input[name="state"]:checked') || {}).value || "made";
  const sceneOf = (c, s) => c[s] || c.made || c.relaxed;

  /* -- filter and sort ------------------------------------------------------------------- */

  crystals.forEach(c => {
    const own = new Set((sceneOf(c, "made") || { z: [] }).z.map(z => elements[z][0]));
    c.elements = own;
    c.words = [c.id, c.formula, c.symbol, ...own].join(" ").toLowerCase();
  });

  // "gap>2", "confidence >= 0.5": a bound on the column whose title has that word.
  const BOUND = /^([^<>=]+)(<=|>=|<|>|=)(-?\d+(?:\.\d+)?)$/;
  const plain = text => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const titles = heads.map(h => plain(h.querySelector("button").firstChild.textContent));
  function columnOf(word) {
    const w = plain(word), begins = titles.findIndex(t => t.startsWith(w));
    return begins >= 0 ? begins : titles.findIndex(t => t.includes(w));
  }
  function within(c, [, word, sign, number]) {
    const k = columnOf(word), x = k < 0 ? null : c.values[k], y = Number(number);
    if (typeof x !== "number") return false; // an empty cell is inside no bound
    return { "<": x < y, ">": x > y, "<=": x <= y, ">=": x >= y, "=": x === y }[sign];
  }

  function matches(c) {
    const which = $("which").value;
    const words = $("find").value.trim().replace(/\s*(<=|>=|<|>|=)\s*/g, "$1").split(/\s+/)
      .filter(Boolean);
    if (which !== "all" && !c.flags.split(" ").includes(which)) return false;
    return words.every(w => BOUND.test(w) ? within(c, w.match(BOUND))
      : /^[A-Z][a-z]?$/.test(w) ? c.elements.has(w) : c.words.includes(w.toLowerCase()));
  }

  function refresh() {
    const seen = order.filter(k => matches(crystals[k]));
    const part = document.createDocumentFragment(), set = new Set(seen);
    for (const k of order) { lines[k].hidden = !set.has(k); part.append(lines[k]); }
    body.append(part);
    $("count").textContent = `${seen.length} of ${crystals.length} crystals`;
    gallery(seen);
  }

  function sortBy(k) {
    const up = heads[k].getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
    heads.forEach((h, j) => h.setAttribute("aria-sort",
      j === k ? (up ? "ascending" : "descending") : "none"));
    order.sort((i, j) => {
      const a = crystals[i].values[k], b = crystals[j].values[k];
      if (a === null || a === "") return b === null || b === "" ? i - j : 1; // empty cells last
      if (b === null || b === "") return -1;
      const by = typeof a === "number" && typeof b === "number" ? a - b
        : String(a).localeCompare(String(b), "en", { numeric: true });
      return sign * by || i - j;
    });
    refresh();
  }

  heads.forEach((h, k) => h.querySelector("button").addEventListener("click", () => sortBy(k)));
  let waiting = 0;
  $("find").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { shown = PAGE; refresh(); }, 120);
  });
  $("which").addEventListener("change", () => { shown = PAGE; refresh(); });
  document.querySelectorAll('input[name="state"]').forEach(b => b.addEventListener("change", () => {
    best();
    refresh();
  }));
  $("more").addEventListener("click", () => { shown += 2 * PAGE; refresh(); });

  /* -- gallery --------------------------------------------------------------------------- */

  function gallery(seen) {
    if (watch) watch.disconnect();
    const place = $("cards");
    place.querySelectorAll("canvas").forEach(c => { if (c.cell) c.cell.dispose(); });
    place.replaceChildren(...seen.slice(0, shown).map(card));
    if (!seen.length) place.append(make("p", "No crystal fits these filters.", { className: "quiet" }));
    const left = seen.length - shown;
    $("more").hidden = left <= 0;
    $("more").textContent = `Show ${Math.min(left, 2 * PAGE)} more`;
    watch = CrystalCell.lazily(place, k => sceneOf(crystals[k], state()), elements);
  }

  /* How good a crystal without energy is held to be, and how likely to have what was asked for. */
  function belief(c) {
    const sure = value(c, "confidence"), score = value(c, "score"), fits = value(c, "inside_asked");
    const asked = typeof fits === "number" ? [`as asked ${Math.round(100 * fits)} %`] : [];
    if (typeof sure === "number") return [...asked, `confidence ${Math.round(100 * sure)} %`];
    return typeof score === "number" ? [...asked, `score ${minus(score.toFixed(2))}`] : asked;
  }

  /* The first five of different structure, in the order of the table. */
  function best() {
    const place = $("best-cards"), ranked = crystals.map((_, k) => k)
      .filter(k => value(crystals[k], "rank") !== null);
    const listed = ranked.length ? ranked : crystals.map((_, k) => k);
    const rank = k => value(crystals[k], "rank") ?? k;
    const single = listed.filter(k => crystals[k].flags.split(" ").includes("distinct"));
    const first = (single.length ? single : listed).sort((i, j) => rank(i) - rank(j)).slice(0, 5);
    place.querySelectorAll("canvas").forEach(c => { if (c.cell) c.cell.dispose(); });
    place.replaceChildren(...first.map(card));
    CrystalCell.lazily(place, k => sceneOf(crystals[k], state()), elements);
  }

  function card(k) {
    const c = crystals[k], box = make("article"), scene = sceneOf(c, state());
    box.setAttribute("aria-label", `${c.formula}, ${c.id}`);
    if (scene) {
      const canvas = make("canvas");
      Object.assign(canvas, { tabIndex: 0 });
      canvas.dataset.scene = k;
      canvas.setAttribute("role", "application");
      canvas.setAttribute("aria-roledescription", "3D cell");
      canvas.setAttribute("aria-label", scene.words + " Arrow keys turn it.");
      box.append(canvas);
    } else box.append(make("p", "No picture: the crystal has no structure here.",
      { className: "nothing quiet" }));
    const text = make("div", null, { className: "text" }), title = make("h3");
    title.append(make("b")); title.firstChild.append(c.formula ? formula(c.formula) : c.id);
    if (c.formula) title.append(make("span", c.id));
    const bits = [];
    if (value(c, "rank") !== null) bits.push(`rank ${value(c, "rank")}`);
    if (c.symbol) bits.push(group(c.symbol));
    const above = value(c, "energy_above_hull_eV_atom");
    if (above !== null) bits.push(`${minus(above.toFixed(3))} eV/atom above hull`);
    else bits.push(...belief(c));
    if (c.fame) bits.push(c.fame);
    const button = make("button", "Details", { type: "button" });
    button.setAttribute("aria-label", `Details of ${c.id}`);
    button.addEventListener("click", () => { location.hash = `id=${encodeURIComponent(c.id)}`; });
    const line = make("p", null, { className: "quiet" });
    bits.forEach((bit, j) => line.append(...(j ? [" · ", bit] : [bit])));
    text.append(title, line, button);
    box.append(text);
    return box;
  }

  /* -- the card of one crystal -------------------------------------------------------------- */

  const dialog = $("card");

  function follow() {
    const wanted = /^#id=(.*)$/.exec(location.hash);
    const k = wanted ? crystals.findIndex(c => c.id === decodeURIComponent(wanted[1])) : -1;
    if (k < 0) { if (dialog.open) dialog.close(); return; }
    fill(k);
    if (!dialog.open) dialog.showModal();
    $("card-title").focus();
    dialog.scrollTop = 0;
  }

  function forget() {
    if (openCell) openCell.dispose();
    openCell = null; open = -1;
    if (location.hash.startsWith("#id="))
      history.replaceState(null, "", location.pathname + location.search);
  }

  function neighbour(step) {
    const seen = order.filter(k => matches(crystals[k]) || k === open);
    const next = seen[seen.indexOf(open) + step];
    if (next !== undefined) location.hash = `id=${encodeURIComponent(crystals[next].id)}`;
  }

  function fill(k) {
    const c = crystals[k];
    if (openCell) openCell.dispose();
    openCell = null; open = k;
    const top = make("header"), title = make("h2", null, { id: "card-title", tabIndex: -1 });
    title.append(formula(c.formula), " ", make("span", c.symbol ? `${c.id} · ` : c.id));
    if (c.symbol) title.lastChild.append(group(c.symbol));
    const button = (text, label, act) => {
      const b = make("button", text, { type: "button" });
      b.setAttribute("aria-label", label);
      b.addEventListener("click", act);
      return b;
    };
    top.append(title, button("‹", "Previous crystal", () => neighbour(-1)),
      button("›", "Next crystal", () => neighbour(1)),
      button("✕", "Close", () => dialog.close()));
    const main = make("div", null, { className: "body" });
    main.append(picture(c), figures(c));
    const powder = powderChart(c), checks = checkTable(c);
    if (powder) main.append(powder);
    if (checks) main.append(checks);
    dialog.replaceChildren(top, main);
    const canvas = dialog.querySelector("canvas");
    if (canvas) {
      const first = c[state()] ? state() : c.made ? "made" : "relaxed";
      openCell = new CrystalCell.Cell(canvas, c[first], elements,
        { label: dialog.querySelector("output") });
      canvas.cell = openCell;
      const facts = dialog.querySelector(".cell");
      openCell.onfacts = words => { facts.textContent = words; };
      facts.textContent = openCell.facts();
      CrystalCell.toolbar(dialog.querySelector(".toolbar"), openCell);
    }
  }

  function picture(c) {
    const side = make("div", null, { className: "stack" }), scene = sceneOf(c, state());
    if (!scene) {
      side.append(make("p", "No structure of this crystal is in the folder.", { className: "quiet" }));
      return side;
    }
    const canvas = make("canvas", null, { tabIndex: 0 });
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-roledescription", "3D cell");
    canvas.setAttribute("aria-label", scene.words +
      " Arrow keys turn, plus and minus zoom, a, b and c look along an axis; n and p step through " +
      "the atoms, Enter picks one: two give a distance, three an angle.");
    let now = c[state()] ? state() : c.made ? "made" : "relaxed";
    if (c.made && c.relaxed) {
      const choice = make("div", null, { className: "states" });
      choice.setAttribute("role", "group");
      choice.setAttribute("aria-label", "Structure shown");
      for (const [name, text] of [["made", "As made"], ["relaxed", "Relaxed"]]) {
        const b = make("button", text, { type: "button" });
        b.setAttribute("aria-pressed", String(name === now));
        b.addEventListener("click", () => {
          now = name;
          openCell.setScene(c[name]);
          choice.querySelectorAll("button").forEach(o =>
            o.setAttribute("aria-pressed", String(o === b)));
          tools.replaceChildren();
          CrystalCell.toolbar(tools, openCell);
        });
        choice.append(b);
      }
      side.append(choice);
    }
    const tools = make("div", null, { className: "toolbar" });
    tools.setAttribute("role", "toolbar"); tools.setAttribute("aria-label", "View");
    const legend = make("ul", null, { className: "legend" });
    for (const z of [...new Set(scene.z)]) {
      const item = make("li"), dot = make("i");
      dot.style.background = elements[z][1];
      item.append(dot, elements[z][0]);
      legend.append(item);
    }
    const cellText = make("p", "", { className: "quiet cell" });
    const files = make("div", null, { className: "files" });
    for (const [kind, text] of [["CIF", cif], ["POSCAR", poscar]]) {
      const b = make("button", `Save ${kind}`, { type: "button" });
      b.addEventListener("click", () => save(
        kind === "CIF" ? `${c.id}.cif` : `${c.id}.vasp`, text(c, c[now], now)));
      files.append(b);
    }
    side.append(canvas, make("output"), tools, legend, cellText, files);
    return side;
  }

  function parameters(scene) { // of the cell as given, which the files hold
    const m = scene.cell, v = [m.slice(0, 3), m.slice(3, 6), m.slice(6, 9)];
    const size = v.map(x => Math.hypot(...x));
    const angle = (i, j) => 180 / Math.PI * Math.acos(Math.max(-1, Math.min(1,
      v[i].reduce((s, x, k) => s + x * v[j][k], 0) / size[i] / size[j])));
    return [...size, angle(1, 2), angle(0, 2), angle(0, 1)];
  }

  function figures(c) {
    const side = make("div", null, { className: "stack" }), list = make("dl", null,
      { className: "facts" });
    for (const [name, text] of c.facts) {
      const pair = make("div");
      pair.append(make("dt", strings[name]), make("dd", strings[text]));
      list.append(pair);
    }
    side.append(make("h3", "Figures"), list);
    return side;
  }

  function checkTable(c) {
    if (!c.checks.length) return null;
    const side = make("div", null, { className: "whole", tabIndex: 0 }), table = make("table");
    side.setAttribute("role", "region"); side.setAttribute("aria-label", "Checks");
    const head = table.createTHead().insertRow();
    for (const name of ["Check", "Result", "Value", "Limit", "Unit", "Remark"]) {
      const cell = make("th", name); cell.scope = "col"; head.append(cell);
    }
    const rows = table.createTBody();
    for (const [name, passed, found, limit, unit, severity, reason] of c.checks) {
      const row = rows.insertRow(), label = make("th", strings[name]);
      label.scope = "row"; label.style.fontWeight = 400;
      const kind = strings[severity], word = passed ? "passed" : kind === "error" ? "failed" : kind;
      row.append(label, make("td", word,
        { className: passed ? "pass" : kind === "error" ? "fail" : "warn" }));
      for (const text of [found, limit, unit, reason]) row.append(make("td", strings[text]));
    }
    side.append(make("h3", "Checks"), table);
    return side;
  }

  function powderChart(c) {
    if (!c.powder || !c.powder.length) return null;
    const side = make("div", null, { className: "whole" }), W = 900, H = 210, L = 40, B = 34;
    const peaks = [];
    for (let k = 0; k < c.powder.length; k += 2) peaks.push([c.powder[k] / 100, c.powder[k + 1] / 10]);
    const N = 1200, curve = new Float64Array(N), width = 0.16;
    for (const [angle, height] of peaks) {
      const centre = (angle - 10) / 80 * N, reach = Math.ceil(width * 5 / 80 * N) + 2;
      for (let k = Math.max(0, Math.floor(centre - reach)); k < Math.min(N, centre + reach); k++)
        curve[k] += height * Math.exp(-(((k - centre) * 80 / N) ** 2) / (2 * width * width));
    }
    const top = Math.max(...curve) || 1, x = a => L + (a - 10) / 80 * (W - L - 10);
    let path = "";
    curve.forEach((v, k) => {
      path += `${k ? "L" : "M"}${x(10 + k * 80 / N).toFixed(1)},${(H - B - v / top * (H - B - 12)).toFixed(1)}`;
    });
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const add = (tag, pairs, text) => {
      const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [n, v] of Object.entries(pairs)) e.setAttribute(n, v);
      if (text) e.textContent = text;
      svg.append(e);
    };
    const strongest = [...peaks].sort((p, q) => q[1] - p[1]).slice(0, 5)
      .map(p => `${p[0].toFixed(2)}° (${Math.round(p[1])})`).join(", ");
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    svg.setAttribute("class", "chart"); svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Powder pattern; strongest peaks at 2θ ${strongest}`);
    add("path", { class: "zero-line", d: `M${L},${H - B}H${W - 10}` });
    for (let a = 10; a <= 90; a += 10)
      add("text", { x: x(a), y: H - B + 15, class: "tick", "text-anchor": "middle" }, `${a}`);
    add("path", { class: "curve", d: path });
    add("text", { x: W / 2, y: H - 3, "text-anchor": "middle" }, "2θ (degrees), Cu Kα");
    side.append(make("h3", "Simulated powder pattern"), svg, make("p",
      `Of the structure ${c.powder_of === "made" ? "as made" : "as relaxed"}; strongest peaks at 2θ ` +
      `${strongest} (height, highest 100).`, { className: "quiet" }));
    return side;
  }

  /* -- files ---------------------------------------------------------------------------------- */

  function cif(c, s, which) {
    const p = parameters(s), names = ["length_a", "length_b", "length_c", "angle_alpha",
      "angle_beta", "angle_gamma"];
    const head = [`data_${c.id.replace(/\s/g, "_")}_${which}`, ...names.map((n, k) =>
      `_cell_${n} ${p[k].toFixed(6)}`), "_symmetry_space_group_name_H-M 'P 1'",
    "_symmetry_Int_Tables_number 1", "loop_", " _symmetry_equiv_pos_as_xyz", " 'x, y, z'", "loop_",
    " _atom_site_label", " _atom_site_type_symbol", " _atom_site_fract_x", " _atom_site_fract_y",
    " _atom_site_fract_z", " _atom_site_occupancy"];
    return head.concat(s.z.map((z, i) => ` ${elements[z][0]}${i + 1} ${elements[z][0]} ` +
      s.frac.slice(3 * i, 3 * i + 3).map(v => v.toFixed(6)).join(" ") + " 1")).join("\n") + "\n";
  }

  function poscar(c, s, which) {
    const kinds = [...new Set(s.z)], rows = [0, 3, 6].map(k =>
      s.cell.slice(k, k + 3).map(v => v.toFixed(6)).join(" "));
    const atoms = kinds.flatMap(kind => s.z.map((z, i) => [z, i]).filter(([z]) => z === kind)
      .map(([z, i]) => `${s.frac.slice(3 * i, 3 * i + 3).map(v => v.toFixed(6)).join(" ")} ${elements[z][0]}`));
    return [`${c.formula} ${c.id} ${which}`, "1.0", ...rows, kinds.map(z => elements[z][0]).join(" "),
      kinds.map(z => s.z.filter(y => y === z).length).join(" "), "Direct", ...atoms].join("\n") + "\n";
  }

  function save(name, text) {
    const link = make("a", null, { download: name });
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 4000);
  }

  window.crystalReport = { crystals, cif, poscar }; // reached by the tests
  dialog.addEventListener("close", forget);
  dialog.addEventListener("click", e => { if (e.target === dialog) dialog.close(); });
  window.addEventListener("hashchange", follow);
  best();
  refresh();
  follow();
})();
