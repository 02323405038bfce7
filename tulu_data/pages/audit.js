(async () => {
  const list = $("list");
  if (!list) return;
  const data = await unpack();
  const P = data.pairs, N = P.length;
  const F = { q: $("q"), set: $("f-set"), suite: $("f-suite"), layer: $("f-layer"), severity: $("f-severity"), mark: $("f-mark"), min: $("f-min"), counts: $("f-counts"), sort: $("sort") };
  const options = (select, all, values) => select.append(el("option", { value: "" }, all), ...values.map((v) => el("option", { value: v }, shown(v))));
  options(F.set, "all training sets", data.sets);
  options(F.suite, "all suites", data.suites);
  options(F.layer, "any layer", data.layers);
  const layersOf = (p) => data.layers.filter((_, i) => p.l & (1 << i));
  const percent = (x) => (100 * x).toFixed(x > 0 && x < 0.1 ? 1 : 0) + " %";
  const best = (p) => Math.max(p.c, p.f || 0, p.s || 0);
  const haystack = new Array(N);
  const hay = (i) => haystack[i] || (haystack[i] = [P[i].r, P[i].i, data.messages[P[i].m].t, ...data.instances[P[i].n].f.map((x) => x[1])].join("\n").toLowerCase());

  let visible = [], current = -1;
  const view = virtualList(list, 60, (i, on) => {
    const p = P[i];
    const sign = p.k === "true" ? "✓ " : p.k === "false" ? "✗ " : "";
    return el("div", { class: "row" + (on ? " on" : "") + (p.o ? "" : " off"), role: "option", id: "row-" + i, "aria-selected": on, on: { click: () => choose(i, true) } },
      el("b", {}, el("bdi", {}, sign + shown(data.suites[p.u] + " / " + p.i))), el("span", { class: "num" + (p.v ? " leak" : "") }, percent(best(p))),
      el("span", { class: "sub" }, el("bdi", {}, shown(p.r))), el("span", { class: "lay" }, layersOf(p).filter((l) => l !== "any").join(" ") || (p.l ? "any" : "near")));
  });

  function fits(i) {
    const p = P[i];
    if (F.set.value && data.sets[p.t] !== F.set.value) return false;
    if (F.suite.value && data.suites[p.u] !== F.suite.value) return false;
    if (F.layer.value && !(p.l & (1 << data.layers.indexOf(F.layer.value)))) return false;
    if (F.severity.value && (F.severity.value === "answer") !== Boolean(p.v)) return false;
    if (F.mark.value && (p.k || "none") !== F.mark.value) return false;
    if (F.counts.checked && !p.o) return false;
    if (best(p) * 100 < Number(F.min.value)) return false;
    return !F.q.value || hay(i).includes(F.q.value.toLowerCase());
  }
  const orders = { "": null, row: (a, b) => P[a].t - P[b].t || P[a].x - P[b].x, suite: (a, b) => P[a].u - P[b].u || P[a].n - P[b].n };
  function refresh(keep) {
    visible = [];
    for (let i = 0; i < N; i++) if (fits(i)) visible.push(i);
    const order = orders[F.sort.value];
    if (order) visible.sort(order);
    view.set(visible);
    $("f-min-out").textContent = F.min.value + " %";
    $("n").textContent = visible.length === N ? N.toLocaleString("en") + " matches" : visible.length.toLocaleString("en") + " of " + N.toLocaleString("en");
    $("none").hidden = visible.length > 0;
    document.querySelector(".browser").hidden = visible.length === 0;
    document.querySelectorAll(".cell").forEach((c) => c.setAttribute("aria-pressed", Boolean(F.set.value && F.suite.value) && c.dataset.set === F.set.value && c.dataset.suite === F.suite.value));
    if (visible.includes(keep)) choose(keep, false);
    else if (visible.length) choose(visible[0], false, true);
    else { current = -1; $("detail").replaceChildren(); remember(); }
  }

  // ---------------------------------------------------------- the match
  function marked(text, runs) {
    const nodes = [];
    let at = 0;
    for (let k = 0; k < runs.length; k += 3) {
      nodes.push(shown(text.slice(at, runs[k])), el("mark", { class: data.kinds[runs[k + 2]] }, shown(text.slice(runs[k], runs[k + 1]))));
      at = runs[k + 1];
    }
    nodes.push(shown(text.slice(at)));
    return nodes;
  }
  const score = (name, value, note, fires) => el("div", { class: fires ? "fires" : "" }, el("span", {}, name), el("b", {}, value), el("span", {}, note));
  function choose(i, open, quiet) {
    current = i;
    const p = P[i], m = data.messages[p.m], n = data.instances[p.n], fires = layersOf(p), has = (l) => fires.includes(l);
    view.select(visible.indexOf(i), true);
    list.setAttribute("aria-activedescendant", "row-" + i);
    const scores = [
      score("coverage", percent(p.c), p.w + " of " + p.a + " tokens", has("tulu3")),
      score("informative", percent(p.g), "without wording", has("informative")),
      score("longest run", String(p.z), "tokens", has("exact")),
    ];
    if (p.f !== null) scores.push(score("fuzzy", percent(p.f), "of the words in order", has("fuzzy")));
    if (p.s !== null) scores.push(score("semantic", p.s.toFixed(2), p.d === null ? "cosine" : "cosine; " + percent(p.d) + " of the numbers", has("semantic")));
    if (p.j) scores.push(score("judge", p.j, "the model that was asked", p.j === "same"));
    const chips = [
      el("button", { class: "quiet back", type: "button", on: { click: () => document.querySelector(".browser").classList.remove("open") } }, "← list"),
      el("span", { class: "chip " + (p.o ? "bad" : "") }, el("b", {}, p.o ? "counts" : "does not count")),
      ...fires.map((l) => el("span", { class: "chip" }, l)),
      p.v ? el("span", { class: "chip bad" }, el("b", {}, "answer leaked too")) : null,
      p.k ? el("span", { class: "chip " + (p.k === "true" ? "bad" : "good") }, el("b", {}, p.k === "true" ? "marked a true match" : "marked false")) : null,
      el("button", { class: "quiet", type: "button", id: "copy", on: { click: copyLink } }, "Copy link"),
    ];
    const place = [data.sets[p.t], p.r, m.c + "[" + m.e + "]", m.r].join(" · ");
    const train = el("div", { class: "side" }, el("h4", {}, "training text"), el("p", { class: "where" }, el("bdi", {}, shown(place))),
      el("div", { class: "text", dir: "auto", id: "train" }, m.b ? el("span", { class: "cut" }, "… ") : null, ...marked(m.t, p.tr), m.f ? el("span", { class: "cut" }, " …") : null));
    const test = el("div", { class: "side" }, el("h4", {}, "test instance"), el("p", { class: "where" }, el("bdi", {}, shown([data.suites[p.u], p.i, p.b].filter(Boolean).join(" · ")))),
      ...n.f.flatMap(([name, text], k) => [n.f.length > 1 ? el("h4", {}, shown(name)) : null, el("div", { class: "text", dir: "auto" }, ...marked(text, p.er[k] || []))]),
      n.p ? el("div", { class: "extra" }, el("h4", {}, "passage" + (p.h ? ", found in the row" : "")), el("div", { class: "text", dir: "auto" }, shown(n.p))) : null,
      n.a ? el("div", { class: "extra" }, el("h4", {}, p.v ? "answer, found in the row" : "answer"), el("div", { class: "text", dir: "auto" }, shown(n.a))) : null,
      p.y ? el("p", { class: "where" }, "the same text as " + shown(p.y) + ": counted once") : null);
    $("detail").replaceChildren(el("div", { class: "bar2" }, ...chips.filter(Boolean)), el("h3", {}, el("bdi", {}, shown(data.suites[p.u] + " / " + p.i))), el("div", { class: "scores" }, ...scores), el("div", { class: "sides" }, train, test));
    $("detail").scrollTop = 0;
    if (open) {
      document.querySelector(".browser").classList.add("open");
      if (innerWidth <= 720) $("matches").scrollIntoView({ behavior: "instant" });
    }
    if (!quiet) remember();
  }

  // ---------------------------------------------------------- links
  function remember() {
    const state = new URLSearchParams();
    for (const [name, input] of Object.entries(F)) {
      const value = input.type === "checkbox" ? (input.checked ? "1" : "0") : input.value;
      if (value && !(name === "min" && value === "0") && !(name === "counts" && value === (data.anyCount ? "1" : "0"))) state.set(name, value);
    }
    if (current >= 0) state.set("m", P[current].id);
    history.replaceState(null, "", "#" + state);
  }
  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const [name, input] of Object.entries(F)) {
      if (input.type === "checkbox") input.checked = (state.get(name) ?? (data.anyCount ? "1" : "0")) === "1";
      else input.value = state.get(name) || (name === "min" ? "0" : "");
    }
    const wanted = P.findIndex((p) => p.id === state.get("m"));
    if (wanted >= 0 && !fits(wanted)) { clear(); F.counts.checked = Boolean(P[wanted].o); }
    refresh(wanted);
    if (wanted >= 0) document.querySelector(".browser").classList.add("open");
    if (wanted >= 0 || (state.get("set") && !state.get("m"))) $("matches").scrollIntoView({ behavior: "instant" }); // #set=…&suite=…: a cell of another page's map
  }
  async function copyLink() {
    remember();
    try { await navigator.clipboard.writeText(location.href); $("copy").textContent = "Copied"; } catch { $("copy").textContent = "The link is in the address bar"; }
  }
  function clear() {
    for (const [name, input] of Object.entries(F)) if (input.type === "checkbox") input.checked = data.anyCount; else input.value = name === "min" ? "0" : "";
  }

  // ---------------------------------------------------------- hands
  for (const input of Object.values(F)) input.addEventListener("input", () => refresh(current));
  $("filters").addEventListener("submit", (e) => e.preventDefault());
  $("clear").addEventListener("click", () => { clear(); refresh(current); });
  document.querySelectorAll(".cell").forEach((cell) => cell.addEventListener("click", () => {
    const again = F.set.value === cell.dataset.set && F.suite.value === cell.dataset.suite;
    F.set.value = again ? "" : cell.dataset.set;
    F.suite.value = again ? "" : cell.dataset.suite;
    if (!again && !P.some((p, i) => fits(i))) F.counts.checked = false;
    refresh(current);
    $("matches").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
  }));
  const move = (step) => { const at = visible.indexOf(current) + step; if (visible[at] !== undefined) choose(visible[at], false); };
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (e.key === "Escape") { document.activeElement.blur(); $("help").close(); document.querySelector(".browser").classList.remove("open"); return; }
    if (typing || $("help").open) return;
    const inList = document.activeElement === list || document.activeElement === document.body;
    const keys = { j: () => move(1), k: () => move(-1), "/": () => F.q.focus(), "?": () => $("help").showModal(), l: copyLink, x: () => { clear(); refresh(current); }, c: () => { F.counts.checked = !F.counts.checked; refresh(current); } };
    if (inList && document.activeElement === list) Object.assign(keys, { ArrowDown: () => move(1), ArrowUp: () => move(-1), PageDown: () => move(10), PageUp: () => move(-10) });
    if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
  });
  addEventListener("hashchange", recall);
  recall();
  document.body.dataset.ready = "1";
})();
