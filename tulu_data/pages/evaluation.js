(async () => {
  const data = await unpack();
  const T = data.tasks, many = data.runs.length > 1, box = document.querySelector(".browser"), list = $("list");
  const F = { q: $("q"), run: $("f-run"), verdict: $("f-verdict"), seen: $("f-seen"), subset: $("f-subset"), sort: $("f-sort") };
  const count = (n) => n.toLocaleString("en");
  const percent = (v, places = 1) => (100 * v).toFixed(places);
  const within = (v, e) => v === null ? "–" : percent(v) + (e === null ? "" : " ± " + percent(e));
  const colour = (i) => "--c:var(--c" + (i % 8) + ")";
  const swatch = (i) => el("i", { class: "swatch", style: colour(i) });
  const chip = (words, kind) => el("span", { class: "chip" + (kind ? " " + kind : "") }, kind ? el("b", {}, shown(words)) : shown(words));
  let at = -1, task = null, S = null, visible = [], current = -1, sample = 0, hay = [], skipped = new Map();

  // ---------------------------------------------------------- the curve: score of what no message covers by more than t
  const W = 560, LEFT = 54, RIGHT = 536, TOP = 14, BOTTOM = 196;
  function svg(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  function curve(curves) {
    const known = curves.map((points, run) => ({ run, points: points || [] })).filter((c) => c.points.length);
    const ends = known.flatMap((c) => c.points).filter((p) => p[2] !== null).flatMap((p) => [p[2] - (p[3] || 0), p[2] + (p[3] || 0)]);
    let low = Math.max(0, Math.min(...ends)), high = Math.min(1, Math.max(...ends));
    if (!ends.length) [low, high] = [0, 1];
    const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25].find((s) => (high - low) / s <= 5) || 0.25;
    low = Math.max(0, Math.floor(low / step - 0.3) * step);
    high = Math.min(1, Math.ceil(high / step + 0.3) * step);
    if (high - low < step / 2) [low, high] = [Math.max(0, low - step), Math.min(1, high + step)];
    const x = (t) => LEFT + t * (RIGHT - LEFT), y = (v) => BOTTOM - (v - low) / (high - low) * (BOTTOM - TOP);
    const parts = [];
    for (let v = low; v <= high + 1e-9; v += step) parts.push(svg("path", { class: "grid", d: "M" + LEFT + " " + y(v).toFixed(1) + "H" + RIGHT }), svg("text", { x: LEFT - 8, y: (y(v) + 4).toFixed(1), "text-anchor": "end" }, percent(v, step < 0.01 ? 1 : 0)));
    parts.push(svg("path", { class: "paper", d: "M" + x(0.5) + " " + TOP + "V" + BOTTOM }), svg("text", { x: x(0.5) + 5, y: TOP + 9 }, "the paper’s line"));
    const thresholds = known.reduce((a, c) => c.points.length > a.length ? c.points.map((p) => p[0]) : a, []);
    for (const t of thresholds) parts.push(svg("text", { x: x(t).toFixed(1), y: BOTTOM + 17, "text-anchor": "middle" }, t.toFixed(1)));
    parts.push(svg("text", { x: 8, y: BOTTOM + 17 }, "≤"));
    let floor = BOTTOM + 34;
    for (const c of known) {
      for (const p of c.points) parts.push(svg("text", { class: "count", x: x(p[0]).toFixed(1), y: floor, "text-anchor": "middle", style: many ? "fill:var(--c" + c.run % 8 + ")" : "" }, count(p[1])));
      parts.push(svg("text", { class: "count", x: 8, y: floor }, "n"));
      floor += 14;
    }
    for (const c of known) {
      const points = c.points.filter((p) => p[2] !== null), place = (p, v) => x(p[0]).toFixed(1) + " " + y(Math.max(low, Math.min(high, v))).toFixed(1);
      const up = points.map((p) => place(p, p[2] + (p[3] || 0))), down = points.map((p) => place(p, p[2] - (p[3] || 0))).reverse();
      if (points.length) parts.push(svg("g", { style: colour(c.run) }, svg("path", { class: "band", d: "M" + [...up, ...down].join("L") + "Z" }),
        svg("path", { class: "line", d: "M" + points.map((p) => place(p, p[2])).join("L") }), ...points.map((p) => svg("circle", { class: "dot", cx: x(p[0]).toFixed(1), cy: y(p[2]).toFixed(1), r: 3 }))));
    }
    const cross = svg("path", { class: "cross" }), read = el("div", { class: "read", role: "status", hidden: true });
    const told = "Score by coverage: " + known.map((c) => (many ? data.runs[c.run] + " " : "") + c.points.map((p) => "up to " + p[0].toFixed(1) + " " + within(p[2], p[3])).join(", ")).join("; ");
    const figure = el("figure", { class: "panel", id: "curve", tabindex: "0" }, svg("svg", { viewBox: "0 0 " + W + " " + (floor - 4), role: "img", "aria-label": shown(told) }, ...parts, cross), read);
    let point = -1;
    function show(i) {
      point = Math.max(0, Math.min(thresholds.length - 1, i));
      const t = thresholds[point], scale = figure.querySelector("svg").clientWidth / W;
      read.replaceChildren(el("b", {}, "covered by at most " + percent(t, 0) + " %"), ...known.map((c) => {
        const p = c.points.find((q) => q[0] === t);
        return el("div", {}, many ? swatch(c.run) : null, many ? shown(data.runs[c.run]) + " " : null, el("b", {}, p ? within(p[2], p[3]) : "–"), p ? " of " + count(p[1]) : "");
      }));
      cross.setAttribute("d", "M" + x(t).toFixed(1) + " " + TOP + "V" + BOTTOM);
      read.hidden = false;
      const left = x(t) * scale + 16;
      read.style.left = (left + read.offsetWidth > figure.scrollWidth ? Math.max(6, x(t) * scale - read.offsetWidth - 6) : left) + "px";
      read.style.top = "30px";
    }
    function hide() { point = -1; read.hidden = true; cross.setAttribute("d", ""); }
    const pointed = (e) => {
      const rect = figure.querySelector("svg").getBoundingClientRect(), t = ((e.clientX - rect.left) * W / rect.width - LEFT) / (RIGHT - LEFT);
      show(thresholds.reduce((best, value, i) => Math.abs(value - t) < Math.abs(thresholds[best] - t) ? i : best, 0));
    };
    figure.addEventListener("pointermove", pointed);
    figure.addEventListener("pointerdown", pointed);
    figure.addEventListener("pointerleave", (e) => { if (e.pointerType === "mouse") hide(); });
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (e) => {
      const to = { ArrowLeft: point < 0 ? thresholds.length - 1 : point - 1, ArrowRight: point + 1, Home: 0, End: thresholds.length - 1 }[e.key];
      if (to === undefined || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      show(to);
    });
    return figure;
  }

  // ---------------------------------------------------------- the task
  const legend = () => many ? el("p", { class: "legend" }, ...data.runs.map((name, i) => el("span", {}, swatch(i), el("bdi", {}, shown(name))))) : null;
  function subsets() {
    const first = (s) => (s.runs.find((r) => r && r[1] !== null) || [0, 2])[1];
    const sorted = [...task.subsets].sort((a, b) => first(a) - first(b) || (a.name < b.name ? -1 : 1));
    return el("ul", { class: "subsets", id: "subsets" }, ...sorted.map((s) => {
      const dirty = Math.max(...s.dirty), sizes = [...new Set(s.runs.filter(Boolean).map((r) => count(r[0])))];
      return el("li", {}, el("button", { type: "button", "data-subset": s.name, "aria-pressed": "false", title: shown(s.name), on: { click: () => { F.subset.value = F.subset.value === s.name ? "" : s.name; refresh(); } } },
        el("span", { class: "who" }, el("bdi", {}, shown(s.name))),
        el("span", { class: "bars" }, ...s.runs.map((r, i) => r ? el("i", { style: colour(i) }, el("b", { style: "width:" + percent(r[1] || 0) + "%" })) : null)),
        el("span", { class: "nums num" }, ...s.runs.map((r) => r ? el("span", {}, r[1] === null ? "–" : percent(r[1]), r[2] === null ? null : el("small", {}, " ± " + percent(r[2]))) : el("span", {}, "–"))),
        el("span", { class: "size" }, sizes.join(" / "), dirty ? el("span", { class: "leak" }, count(dirty) + " dirty") : null)));
    }));
  }
  function drawTask() {
    $("task-h").textContent = shown(task.title);
    document.querySelectorAll(".task").forEach((row) => {
      const on = row.dataset.task === String(at);
      row.classList.toggle("on", on);
      row.querySelector("button").setAttribute("aria-pressed", String(on));
    });
    $("earlier").disabled = at === 0;
    $("later").disabled = at === T.length - 1;
    $("task-notes").replaceChildren(...task.notes.map(([who, note]) => chip((who ? who + ": " : "") + note)), ...(task.about ? [el("p", { class: "hint" }, shown(task.about))] : []));
    const views = [];
    if (task.curves) views.push(el("div", {}, el("h3", {}, "Score by coverage"), el("p", { class: "hint" }, "Of the instances that no training message covers by more than the threshold: at 0 what shares nothing, at 1 everything. Point at it to read a value off."), legend(), curve(task.curves)));
    if (task.subsets.length) views.push(el("div", {}, el("h3", {}, "By subset"), el("p", { class: "hint" }, (task.macro ? "The score is the mean of these. " : "") + "Lowest first. Choose one to see its samples."), views.length ? null : legend(), subsets()));
    $("task-view").replaceChildren(...views);
    $("task-view").classList.toggle("one", views.length < 2);
    $("facts-head").replaceChildren(...(many ? [el("tr", {}, el("th", {}), ...data.runs.map((name, i) => el("th", { scope: "col" }, swatch(i), el("bdi", {}, shown(name)))))] : []));
    $("facts").replaceChildren(...task.facts.map((f) => el("tr", { class: f.cells.length > 1 && f.name !== "samples sha256" ? "differs" : null }, el("th", { scope: "row" }, f.name),
      ...f.cells.map((cell) => el("td", { class: /sha256$/.test(f.name) || f.name === "suite" ? "mono" : null, colspan: f.cells.length === 1 ? data.runs.length : null }, el("bdi", {}, shown(cell)))))));
  }
  const mean = (answers) => { const known = answers.map((a) => a[2]).filter((s) => s !== null); return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null; };
  const verdict = (v) => v === undefined ? "" : v === null ? "none" : v >= 1 ? "right" : v > 0 ? "part" : "wrong";
  const options = (select, all, values) => {
    select.replaceChildren(el("option", { value: "" }, all), ...values.map(([value, words]) => el("option", { value }, shown(words))));
    select.hidden = values.length < 2;
  };
  async function open(i, state) {
    at = i;
    task = T[i];
    const wanted = i;
    document.body.dataset.task = "";
    drawTask();
    view.set([]);
    $("detail").replaceChildren();
    $("n").textContent = "…";
    const found = await unpack("samples-" + i);
    if (at !== wanted) return; // another task was chosen meanwhile
    S = found;
    hay = new Array(S.rows.length);
    for (const row of S.rows) {
      row.v = row.r.map((answers) => answers.length ? mean(answers) : undefined);
      row.w = row.v.map(verdict);
      row.seen = row.d.map((d) => d === null ? "" : ["clean", "dirty", "unclear"][d[0]]);
    }
    skipped = beginnings();
    const has = (kind) => S.rows.some((row) => row.w.includes(kind)), met = (kind) => S.rows.some((row) => row.seen.includes(kind));
    options(F.run, "any run", many ? data.runs.map((name, k) => [String(k), name]) : []);
    options(F.verdict, "any verdict", [["right", "right"], ["part", "right in part"], ["wrong", "wrong"], ["none", "not judged"]].filter(([kind]) => has(kind)).concat(many ? [["differ", "the runs differ"]] : []));
    options(F.seen, "clean and dirty", [["clean", "clean"], ["dirty", "dirty"], ["unclear", "unclear"]].filter(([kind]) => met(kind)));
    options(F.subset, "all subsets", [...new Set(S.rows.map((row) => row.u).filter((u) => u !== null))].map((u) => [u, u]));
    F.sort.replaceChildren(...[["", "the suite’s order"], ["low", "lowest score first"], ["high", "highest score first"], ["covered", "most covered first"]].filter(([value]) => value !== "covered" || task.curves).map(([value, words]) => el("option", { value }, words)));
    $("held").textContent = task.held;
    for (const [name, input] of Object.entries(F)) {
      input.value = (state && state.get(name)) || "";
      if (input.selectedIndex === -1) input.value = "";
    }
    current = state ? S.rows.findIndex((row) => row.i === state.get("row")) : -1;
    if (current >= 0 && !fits(current)) clear();
    sample = 0;
    refresh();
    if (state && current > 0) view.select(visible.indexOf(current), true);
    document.body.dataset.task = task.id;
  }

  // ---------------------------------------------------------- the list
  const asked = (row) => row.m[row.m.length - 1][1];
  // Of each subset, how many characters all its prompts begin with: a line of the list starts where they part.
  function beginnings() {
    const ends = new Map();
    for (const row of S.rows) {
      const t = asked(row), known = ends.get(row.u);
      if (!known) ends.set(row.u, [t, t]);
      else { if (t < known[0]) known[0] = t; if (t > known[1]) known[1] = t; }
    }
    return new Map([...ends].map(([subset, [low, high]]) => {
      let k = 0;
      while (k < low.length && low[k] === high[k]) k++;
      return [subset, k < low.length ? low.slice(0, k).search(/\S*$/) : 0];
    }));
  }
  const oneLine = (row) => shown(asked(row).slice(skipped.get(row.u), skipped.get(row.u) + 300).replace(/\s+/g, " ").trim().slice(0, 160));
  const covered = (row) => Math.max(0, ...row.d.map((d) => d ? d[1] : 0));
  const SIGNS = { right: "✓", part: "◐", wrong: "✗", none: "?", "": "–" };
  const WORDS = { right: "right", part: "right in part", wrong: "wrong", none: "not judged", "": "no answer" };
  const sign = (kind) => el("span", { class: "mark " + (kind || "none"), title: WORDS[kind] }, SIGNS[kind]);
  const view = virtualList(list, 56, (i, on) => {
    const row = S.rows[i], dirty = row.seen.includes("dirty"), unclear = row.seen.includes("unclear");
    return el("div", { class: "row" + (on ? " on" : ""), role: "option", id: "row-" + i, "aria-selected": String(on), on: { click: () => choose(i, true) } },
      el("b", {}, el("bdi", {}, shown(row.i))), el("span", { class: "num" }, ...row.w.flatMap((kind, k) => [kind === "part" ? el("small", {}, percent(row.v[k], 0)) : null, sign(kind)]).filter(Boolean)),
      el("span", { class: "sub", dir: "auto" }, oneLine(row)), el("span", { class: "lay" + (dirty ? " leak" : "") }, dirty ? "dirty " + percent(covered(row), 0) + " %" : unclear ? "unclear" : ""));
  });
  const text = (i) => hay[i] || (hay[i] = [S.rows[i].i, S.rows[i].u || "", S.rows[i].t, ...S.rows[i].m.map((m) => m[1]), ...S.rows[i].r.flat().flatMap((a) => [a[0], a[1] || "", a[3], a[5]])].join("\n").toLowerCase());
  function fits(i) {
    const row = S.rows[i], of = (values) => F.run.value === "" ? values : [values[Number(F.run.value)]], wanted = F.verdict.value;
    if (wanted === "differ" ? new Set(row.w.filter(Boolean)).size < 2 : wanted && !of(row.w).includes(wanted)) return false;
    if (F.seen.value && !of(row.seen).includes(F.seen.value)) return false;
    if (F.subset.value && row.u !== F.subset.value) return false;
    return !F.q.value || text(i).includes(F.q.value.toLowerCase());
  }
  const least = (i, without) => { const known = S.rows[i].v.filter((v) => v !== undefined && v !== null); return known.length ? Math.min(...known) : without; };
  const orders = { low: (a, b) => least(a, 2) - least(b, 2) || a - b, high: (a, b) => least(b, -1) - least(a, -1) || a - b, covered: (a, b) => covered(S.rows[b]) - covered(S.rows[a]) || a - b };
  function refresh() {
    if (!S) return;
    visible = S.rows.map((_, i) => i).filter(fits);
    if (orders[F.sort.value]) visible.sort(orders[F.sort.value]);
    view.set(visible);
    $("n").textContent = visible.length === S.rows.length ? count(visible.length) + (visible.length === 1 ? " instance" : " instances") : count(visible.length) + " of " + count(S.rows.length);
    $("none").hidden = visible.length > 0;
    $("none-why").textContent = S.rows.length < task.instances ? "Clear some; or it may be one of the " + count(task.instances - S.rows.length) + " that the page does not hold." : "Clear some of them.";
    box.hidden = visible.length === 0;
    document.querySelectorAll("#subsets button").forEach((b) => b.setAttribute("aria-pressed", String(F.subset.value !== "" && b.dataset.subset === F.subset.value)));
    if (visible.length) choose(visible.includes(current) ? current : visible[0], false);
    else { current = -1; $("detail").replaceChildren(); list.removeAttribute("aria-activedescendant"); remember(); }
  }

  // ---------------------------------------------------------- one sample
  const CUT = /(\n… [\d,]+ more characters …\n)/;
  const body = (t, kind) => el("div", { class: "text" + (kind ? " " + kind : ""), dir: "auto" }, ...t.split(CUT).map((part, k) => k % 2 ? el("span", { class: "cut" }, part) : shown(part)));
  const side = (name, ...children) => el("div", { class: "side" }, el("h4", {}, shown(name)), ...children);
  const fold = (summary, ...children) => el("details", { class: "fold" }, el("summary", {}, summary), ...children);
  function weighed(row, logps) {
    const top = Math.max(...logps.map((p) => p === null ? -Infinity : p)), mass = logps.map((p) => p === null ? 0 : Math.exp(p - top)), all = mass.reduce((a, b) => a + b, 0);
    return el("table", { class: "options" }, ...row.o.map(([words, right], k) => el("tr", {}, el("td", {}, sign(right ? "right" : "wrong")), el("td", { dir: "auto" }, shown(words)), el("td", { class: "n" }, all > 0 ? percent(mass[k] / all) + " %" : "–"), el("td", { class: "n" }, el("small", {}, logps[k] === null ? "no number" : "log p " + logps[k].toFixed(2))))));
  }
  function answer(row, run) {
    const answers = row.r[run];
    if (!answers.length) return el("div", { class: "answer" }, el("span", { class: "who" }, swatch(run), el("bdi", {}, shown(data.runs[run]))), el("p", { class: "hint" }, "Not asked in this run."));
    const k = Math.min(sample, answers.length - 1), [response, extracted, score, reason, logps, said] = answers[k], kind = verdict(score);
    return el("div", { class: "answer" }, ...[
      many ? el("span", { class: "who" }, swatch(run), el("bdi", {}, shown(data.runs[run]))) : null,
      el("p", { class: "verdict" }, chip(WORDS[kind], { right: "good", wrong: "bad", part: "warn", none: "warn" }[kind]), score === null ? null : chip("score " + Number(score.toFixed(4))),
        answers.length > 1 ? chip(answers.filter((a) => a[2] !== null && a[2] >= 1).length + " of " + answers.length + " right") : null),
      answers.length > 1 ? el("div", { class: "samples", role: "group", "aria-label": "Samples" }, ...answers.map((a, j) => el("button", { type: "button", "aria-pressed": String(j === k), "aria-label": "Sample " + (j + 1) + ", " + WORDS[verdict(a[2])], on: { click: () => { sample = j; choose(current, false); } } }, String(j + 1), " ", sign(verdict(a[2]))))) : null,
      el("dl", { class: "got" }, ...(extracted === null ? [] : [el("dt", {}, "taken for the answer"), el("dd", { dir: "auto" }, shown(extracted))]), ...(reason ? [el("dt", {}, "reason"), el("dd", { dir: "auto" }, shown(reason))] : [])),
      logps && row.o ? side("options", weighed(row, logps)) : null,
      response || !logps ? side("response", response ? body(response) : el("p", { class: "hint" }, "Empty.")) : null,
      said ? fold("what else is on record", body(said, "mono")) : null,
    ].filter(Boolean));
  }
  function overlap(row) {
    const told = row.d.map((d, i) => d === null ? null : { words: row.seen[i] + (d[1] ? ", covered by " + percent(d[1], 0) + " %" : "") + (d[2].length ? ", by " + d[2].map((k) => S.sets[k]).join(", ") : ""), kind: ["good", "bad", "warn"][d[0]] });
    const known = told.filter(Boolean), same = known.length === told.length && new Set(known.map((o) => o.words)).size === 1;
    return (same ? known.slice(0, 1) : told).map((o, i) => o && chip((many && !same ? data.runs[i] + ": " : "") + o.words, o.kind)).filter(Boolean);
  }
  function choose(i, opened) {
    if (i !== current) sample = 0;
    current = i;
    const row = S.rows[i], last = row.m[row.m.length - 1], before = row.h === null ? [] : S.shots[row.h];
    view.select(visible.indexOf(i), true);
    list.setAttribute("aria-activedescendant", "row-" + i);
    $("detail").replaceChildren(
      el("div", { class: "bar2" }, el("button", { class: "quiet back", type: "button", on: { click: () => { close(); list.focus({ preventScroll: true }); } } }, "← list"), row.u === null ? null : chip(row.u), ...overlap(row), el("button", { class: "quiet", type: "button", id: "copy", on: { click: copyLink } }, "Copy link")),
      el("h3", {}, el("bdi", {}, shown(row.i))),
      el("div", { class: "side" }, ...row.m.slice(0, -1).flatMap(([role, t]) => [el("h4", {}, shown(role)), body(t)]),
        before.length ? fold(before.length + (before.length === 1 ? " turn" : " turns") + " before the question", ...before.flatMap(([role, t]) => [el("h4", {}, shown(role)), body(t)])) : null,
        row.l === null ? null : fold("the same beginning of all prompts" + (row.u === null ? "" : " of this subset") + ", " + count(S.leads[row.l].length) + " characters", body(S.leads[row.l])),
        el("h4", {}, shown(last[0])), body(last[1])),
      el("div", { class: "side truth" }, ...(row.t.length > 300 ? [fold("truth, " + count(row.t.length) + " characters", body(row.t, "mono"))] : [el("h4", {}, "truth"), body(row.t || "none")])),
      el("div", { class: "answers" }, ...row.r.map((_, run) => answer(row, run))));
    $("detail").scrollTop = 0;
    if (opened) {
      box.classList.add("open");
      if (innerWidth <= 720) box.scrollIntoView({ behavior: "instant" });
    }
    remember();
  }
  function close() {
    if (!box.classList.contains("open")) return;
    box.classList.remove("open");
    view.select(visible.indexOf(current), true);
  }

  // ---------------------------------------------------------- links
  function remember() {
    const state = new URLSearchParams({ task: task.id });
    for (const [name, input] of Object.entries(F)) if (input.value) state.set(name, input.value);
    if (current > 0) state.set("row", S.rows[current].i);
    history.replaceState(null, "", "#" + state);
  }
  async function recall() {
    const state = new URLSearchParams(location.hash.slice(1)), wanted = T.findIndex((t) => t.id === state.get("task"));
    if (!T.length) return;
    await open(Math.max(0, wanted), wanted < 0 ? null : state);
    if (!state.get("row")) return;
    box.classList.add("open");
    $("samples-h").scrollIntoView({ behavior: "instant" });
  }
  async function copyLink() {
    remember();
    try { await navigator.clipboard.writeText(location.href); $("copy").textContent = "Copied"; } catch { $("copy").textContent = "The link is in the address bar"; }
  }
  const clear = () => { for (const input of Object.values(F)) input.value = ""; };

  // ---------------------------------------------------------- hands
  const go = (i) => { if (T[i] && i !== at) open(i, null); };
  document.querySelectorAll(".task").forEach((row) => row.addEventListener("click", () => {
    if (String(getSelection())) return; // somebody marks a number to copy it
    close();
    go(Number(row.dataset.task));
    $("matches").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
  }));
  $("earlier").addEventListener("click", () => go(at - 1));
  $("later").addEventListener("click", () => go(at + 1));
  for (const input of Object.values(F)) input.addEventListener("input", refresh);
  $("filters").addEventListener("submit", (e) => e.preventDefault());
  $("clear").addEventListener("click", () => { clear(); refresh(); });
  const move = (step) => {
    const to = Math.max(0, Math.min(visible.length - 1, visible.indexOf(current) + step));
    if (visible.length && visible[to] !== current) choose(visible[to], false);
  };
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const active = document.activeElement;
    if (e.key === "Escape") { e.preventDefault(); active.blur(); close(); return; }
    if (active === F.q && e.key === "Enter") { list.focus(); return; }
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName)) return;
    const keys = { j: () => move(1), k: () => move(-1), "[": () => go(at - 1), "]": () => go(at + 1), l: copyLink, "/": () => { close(); F.q.focus(); F.q.select(); }, x: () => { clear(); refresh(); } };
    if (active === list) Object.assign(keys, { ArrowDown: keys.j, ArrowUp: keys.k, PageDown: () => move(10), PageUp: () => move(-10), Home: () => move(-S.rows.length), End: () => move(S.rows.length), Enter: () => choose(current, true) });
    if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
  });
  addEventListener("hashchange", recall);
  await recall();
  document.body.dataset.ready = "1";
})();
