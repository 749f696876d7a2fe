"use strict";
// Text from crystals, files and logs enters the page as text only; nothing here parses it as HTML.

const main = document.getElementById("main");
const notice = document.getElementById("notice");
let info = null, jobs = [], stream = null, timer = null, turns = 0;

/** An element with attributes and children; a string child is text. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Ask the server; an error becomes its sentence. */
async function ask(method, path, body) {
  let answer;
  try {
    const raw = body instanceof Blob;
    answer = await fetch(path, {
      method,
      headers: body === undefined || raw ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    });
  } catch {
    throw new Error("The app does not answer. Its command may have ended; jobs go on, and the next start finds them.");
  }
  const text = await answer.text();
  let content = null;
  try { content = JSON.parse(text); } catch { /* plain text is an error of its own */ }
  if (!answer.ok) throw new Error((content && (content.error || content.detail)) || text || `Error ${answer.status}`);
  return content;
}

function tell(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

const spoken = (seconds) => seconds < 100 ? `${Math.round(seconds)} s`
  : seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
const when = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
const lasted = (job) => job.started ? spoken((job.ended || Date.now() / 1000) - job.started) : "";

// Pages ---------------------------------------------------------------------------------------

function drawNav() {
  const places = [...info.forms.map((form) => [`#/new/${form.kind}`, form.title]), ["#/", "Jobs"], ["#/compare", "Compare"]];
  document.getElementById("nav").replaceChildren(...places.map(([address, title]) =>
    make("a", { href: address, "aria-current": (location.hash || "#/") === address ? "page" : null }, title)));
}

/** The page of the address. One that is asked for while another waits for the server takes its place. */
async function show() {
  const turn = ++turns;
  if (stream) { stream.close(); stream = null; }
  clearInterval(timer);
  tell("");
  const [, place, key] = (location.hash || "#/").split("/");
  try {
    if (info === null) {
      info = await ask("GET", "/api/info");
      document.getElementById("where").textContent = `Version ${info.version}. Everything stays on this machine, in ${info.folder}.`;
    }
    if (turn !== turns) return;
    drawNav();
    jobs = await ask("GET", "/api/jobs");
    const job = place === "job" ? await ask("GET", `/api/jobs/${key}`) : null;
    if (turn !== turns) return;
    if (place === "new") showForm(key);
    else if (job) showJob(key, job);
    else if (place === "compare") showCompare();
    else showJobs();
  } catch (error) { if (turn === turns) tell(error.message); }
}

/** Put a page in place and read its heading to those who cannot see it. */
function put(title, ...parts) {
  document.title = `${title} – crystal-diffusion`;
  main.dataset.place = location.hash || "#/";
  main.replaceChildren(make("h2", {}, title), ...parts);
}

function stateOf(job) {
  return make("span", { class: `state ${job.state}` }, job.state === "partial" ? "done, some failed" : job.state);
}

function showJobs() {
  if (!jobs.length) {
    put("Jobs", make("p", {}, "Nothing yet. "), make("p", {}, make("a", { href: "#/new/generate" }, "Make the first crystals")));
    return;
  }
  const body = make("tbody");
  const draw = () => body.replaceChildren(...jobs.map((job) => make("tr", {},
    make("td", {}, make("a", { href: `#/job/${job.id}` }, job.title)),
    make("td", {}, job.kind), make("td", {}, stateOf(job)), make("td", {}, when(job.created)), make("td", {}, lasted(job)))));
  draw();
  put("Jobs", make("div", { class: "wrap", tabindex: "0", role: "region", "aria-label": "Jobs" }, make("table", {},
    make("thead", {}, make("tr", {}, ...["Job", "What", "State", "Asked", "Took"].map((name) => make("th", { scope: "col" }, name)))), body)));
  timer = setInterval(async () => {
    try { jobs = await ask("GET", "/api/jobs"); draw(); tell(""); } catch (error) { tell(error.message); }
  }, 2000);
}

// Forms ---------------------------------------------------------------------------------------

function showForm(kind, before = null) {
  const form = info.forms.find((one) => one.kind === kind);
  if (!form) { tell("There is no such form."); return; }
  const answers = { ...(before || JSON.parse(sessionStorage.getItem(`again-${kind}`) || "{}")) };
  sessionStorage.removeItem(`again-${kind}`);
  const command = make("pre", { role: "region", "aria-label": "Command line that does the same" });
  const problem = make("p", { class: "problem", role: "status" });
  const start = make("button", { class: "main", type: "submit" }, form.button);
  let waiting = null, touched = false;
  const changed = () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      try {
        const seen = await ask("POST", "/api/preview", { kind, answers });
        command.textContent = seen.command.replaceAll("NEW", "…");
        problem.textContent = touched ? seen.problem : "";
      } catch (error) { problem.textContent = error.message; }
    }, 200);
  };
  const set = (name, value) => {
    if (value === "" || value === false) delete answers[name]; else answers[name] = value;
    touched = true;
    changed();
  };
  const few = form.fields.filter((one) => !one.more).map((one) => question(one, answers, set));
  const more = form.fields.filter((one) => one.more).map((one) => question(one, answers, set));
  const node = make("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      start.disabled = true;
      try {
        const job = await ask("POST", "/api/jobs", { kind, answers });
        location.hash = `#/job/${job.id}`;
      } catch (error) { problem.textContent = error.message; start.disabled = false; }
    },
  }, ...few,
  more.length ? make("details", {}, make("summary", {}, "More options"), make("div", {}, ...more)) : null,
  make("div", { class: "actions" }, start),
  make("div", { class: "wide" }, problem, make("p", { class: "about" }, "The same on the command line, typed in this app's folder:"), command));
  const parts = [make("p", { class: "about" }, form.about), node];
  if (kind === "screen" && !info.potential) {
    parts.splice(1, 0, make("p", { class: "problem" }, "No potential is installed, so there will be no energies: pip install 'crystal-diffusion[relax]'."));
  }
  put(form.title, ...parts);
  changed();
}

function question(one, answers, set) {
  const id = `field-${one.name}`;
  const held = answers[one.name];
  const help = one.help ? make("small", { id: `${id}-help` }, one.help) : null;
  const described = one.help ? `${id}-help` : null;
  if (one.kind === "flag") {
    const box = make("input", { id, type: "checkbox", "aria-describedby": described, onchange: () => set(one.name, box.checked) });
    box.checked = held === true;
    return make("div", { class: "field flag" }, make("label", { for: id }, box, one.label), help);
  }
  if (one.kind === "upload") return upload(one, id, help, set);
  let input;
  if (one.kind === "choice" || one.kind === "model" || one.kind === "run") {
    input = make("select", { id, "aria-describedby": described, onchange: () => set(one.name, input.value) }, ...choices(one));
  } else {
    const number = one.kind === "integer" || one.kind === "number";
    input = make("input", {
      id, type: number ? "number" : "text", "aria-describedby": described, autocomplete: "off", spellcheck: "false",
      min: number ? one.low : null, max: number ? one.high : null, step: one.kind === "number" ? "any" : null,
      maxlength: number ? null : 300, oninput: () => set(one.name, input.value.trim()),
    });
  }
  input.value = held === undefined ? one.default : held;
  if (held === undefined && one.default) answers[one.name] = one.default;
  return make("div", { class: "field" }, make("label", { for: id }, one.label), input, help);
}

function choices(one) {
  if (one.kind === "choice") return one.choices.map((value) => make("option", { value }, value || "any"));
  const found = jobs.filter((job) => one.kind === "model" ? job.has_model : job.has_run);
  const empty = make("option", { value: "" }, one.kind === "model" ? "pretrained" : "none");
  const seen = new Set();
  return [empty, ...found.filter((job) => {
    const key = one.kind === "run" ? job.run : job.id;
    return !seen.has(key) && seen.add(key);
  }).map((job) => make("option", { value: one.kind === "run" ? job.run : job.id }, `${job.title}, ${when(job.created)}`))];
}

function upload(one, id, help, set) {
  const list = make("p", { role: "status" });
  const send = async (files) => {
    const all = files.filter((file) => !file.name.startsWith("."));
    const size = all.reduce((sum, file) => sum + file.size, 0);
    if (!all.length) return;
    if (size > info.largest_upload) {
      list.textContent = `${(size / 2 ** 20).toFixed(0)} MB is more than the ${info.largest_upload / 2 ** 20} MB that fit here; use the command line, which reads folders of any size.`;
      set(one.name, "");
      return;
    }
    try {
      const { id: key } = await ask("POST", "/api/uploads");
      let done = 0;
      for (const file of all) {
        await ask("PUT", `/api/uploads/${key}/${encodeURIComponent(file.name)}`, file);
        done += 1;
        list.textContent = `${done} of ${all.length} files`;
      }
      list.textContent = `${all.length} ${all.length === 1 ? "file" : "files"}: ${all.slice(0, 4).map((file) => file.name).join(", ")}${all.length > 4 ? " …" : ""}`;
      set(one.name, key);
    } catch (error) { list.textContent = error.message; set(one.name, ""); }
  };
  const input = make("input", { id, type: "file", multiple: true, "aria-describedby": help ? `${id}-help` : null, onchange: () => send([...input.files]) });
  const folder = make("input", { id: `${id}-folder`, type: "file", webkitdirectory: true, onchange: () => send([...folder.files]) });
  const zone = make("div", { class: "drop" }, input,
    one.name === "files" ? make("label", { for: `${id}-folder` }, "or a whole folder") : null, one.name === "files" ? folder : null, list);
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
    send(entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...event.dataTransfer.files]);
  });
  return make("div", { class: "field" }, make("label", { for: id }, one.label), zone, help);
}

/** All files of a dropped file or folder. */
async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader(), found = [];
  for (;;) {
    const part = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!part.length) return (await Promise.all(found.map(filesOf))).flat();
    found.push(...part);
  }
}

// One job -------------------------------------------------------------------------------------

function showJob(key, job) {
  const given = job.answers;
  const head = make("div"), log = make("pre", { tabindex: "0", role: "region", "aria-label": "Output" }), result = make("div");
  const details = make("details", {}, make("summary", {}, "Output of the command"), log);
  put(job.title, head, result, make("h3", {}, "The same on the command line"), make("pre", {}, job.command), details);
  let shown = "";
  const draw = () => {
    const over = !["queued", "running"].includes(job.state);
    const step = job.progress;
    const known = step && step.total;
    const bar = step ? make("progress", { value: known ? step.done : null, max: known ? step.total : null, "aria-label": step.stage }) : make("progress", { "aria-label": "starting" });
    const stop = make("button", { type: "button", onclick: () => act("POST", `/api/jobs/${key}/stop`) }, job.stopping ? "Stop at once" : "Stop");
    const again = make("button", { type: "button", onclick: () => {
      sessionStorage.setItem(`again-${job.kind}`, JSON.stringify(given));
      location.hash = `#/new/${job.kind}`;
    } }, "Ask again");
    const remove = make("button", { type: "button", onclick: async () => {
      if (confirm("Remove this job and its crystals?")) { await act("DELETE", `/api/jobs/${key}`); location.hash = "#/"; }
    } }, "Remove");
    const screen = make("button", { type: "button", onclick: () => {
      sessionStorage.setItem("again-screen", JSON.stringify({ run: job.run }));
      location.hash = "#/new/screen";
    } }, "Screen these crystals");
    const use = make("button", { class: "main", type: "button", onclick: () => {
      sessionStorage.setItem("again-generate", JSON.stringify({ model: job.id }));
      location.hash = "#/new/generate";
    } }, "Make crystals with this model");
    head.replaceChildren(
      make("p", { role: "status" }, stateOf(job), ` ${lasted(job)}`, job.problem ? `: ${job.problem}` : ""),
      ...(over ? [] : [make("p", {}, step ? `${step.stage}: ${Math.floor(step.done)} of ${step.total ?? "?"}` : "starting"), bar]),
      make("div", { class: "actions" }, ...(over
        ? [job.has_model ? use : null, job.has_run ? screen : null, again, remove].filter(Boolean) : [stop])));
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
    if (log.textContent !== job.log) log.textContent = job.log;
    if (atEnd) log.scrollTop = log.scrollHeight;
    const now = `${over}${job.has_report}${job.has_run}${job.has_model}`;
    if (over && now !== shown) {
      shown = now;
      if (!job.has_report) details.open = true;
      result.replaceChildren(
        make("p", {}, job.has_report ? make("a", { href: `/jobs/${key}/report`, target: "_blank", rel: "noopener" }, "Open the report in a tab of its own") : "",
          job.has_report ? " · " : "",
          job.has_run || job.has_model || job.has_files ? make("a", { href: `/jobs/${key}/download` }, job.has_model ? "Download the model" : job.has_run ? "Download CIFs, tables and report" : "Download the table") : ""),
        ...(job.has_report ? [make("iframe", { src: `/jobs/${key}/report`, title: `Report of ${job.title}`, sandbox: "allow-scripts allow-downloads" })] : []));
    }
  };
  const act = async (method, path) => {
    try { const answer = await ask(method, path); if (answer.state) { job = { ...answer, stopping: true }; draw(); } } catch (error) { tell(error.message); }
  };
  draw();
  if (["queued", "running"].includes(job.state)) {
    details.open = true;
    stream = new EventSource(`/api/jobs/${key}/events`);
    stream.onmessage = (event) => {
      const stopping = job.stopping;
      job = { ...JSON.parse(event.data), stopping };
      tell("");
      draw();
      if (!["queued", "running"].includes(job.state)) { stream.close(); stream = null; }
    };
    stream.onerror = () => tell("The app does not answer; trying again. The job goes on.");
    stream.onopen = () => tell("");
  }
}

// Runs side by side ---------------------------------------------------------------------------

function showCompare() {
  const seen = new Set();
  const runs = jobs.filter((job) => job.has_run && !seen.has(job.run) && seen.add(job.run));
  if (runs.length < 2) { put("Compare", make("p", {}, "Two runs with crystals are needed.")); return; }
  const chosen = new Set(runs.slice(0, 2).map((job) => job.run));
  const place = make("div", { "aria-live": "polite" });
  const boxes = runs.map((job) => {
    const box = make("input", { type: "checkbox", id: `pick-${job.id}`, onchange: () => { box.checked ? chosen.add(job.run) : chosen.delete(job.run); draw(); } });
    box.checked = chosen.has(job.run);
    return make("div", { class: "field flag" }, make("label", { for: `pick-${job.id}` }, box, `${job.title}, ${when(job.created)}`));
  });
  const draw = async () => {
    if (chosen.size < 2) { place.replaceChildren(make("p", {}, "Choose at least two.")); return; }
    try {
      const seenRuns = await ask("GET", `/api/compare?ids=${[...chosen].join(",")}`);
      place.replaceChildren(compared(seenRuns));
    } catch (error) { tell(error.message); }
  };
  put("Compare", make("form", {}, ...boxes), place);
  draw();
}

function compared(found) {
  const percent = (value) => value === null ? "–" : `${Math.round(100 * value)} %`;
  const lines = [
    ["Crystals", (run) => String(run.crystals)],
    ["Formulas", (run) => String(run.formulas)],
    ["First", (run) => run.best],
    ["Space groups", (run) => run.groups],
    ["Above P1", (run) => percent(run.above_p1)],
    ["Not among the known", (run) => run.new === null ? "not looked" : String(run.new)],
    ["Lowest above hull, eV/atom", (run) => run.lowest_hull === null ? "no energies" : run.lowest_hull.toFixed(3)],
    ...found.runs.map((other, j) => [`Also in ${other.title}`, (run, i) => {
      const pair = found.common.find(([a, b]) => a === i && b === j);
      return pair ? String(pair[2]) : "–";
    }]),
  ];
  return make("div", { class: "wrap", tabindex: "0", role: "region", "aria-label": "Runs side by side" }, make("table", {},
    make("thead", {}, make("tr", {}, make("td"), ...found.runs.map((run) => make("th", { scope: "col" }, make("a", { href: `#/job/${run.id}` }, run.title))))),
    make("tbody", {}, ...lines.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name),
      ...found.runs.map((run, i) => make("td", {}, value(run, i))))))));
}

// ---------------------------------------------------------------------------------------------

window.addEventListener("hashchange", () => { show(); main.focus(); });
show();
