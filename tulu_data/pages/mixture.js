(async () => {
  const data = await unpack();
  const smooth = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";

  // ---------------------------------------------------------- rows or tokens
  document.querySelectorAll(".switch button").forEach((b) => b.addEventListener("click", () => {
    document.querySelectorAll(".composition").forEach((s) => { s.dataset.by = b.dataset.by; });
    document.querySelectorAll(".switch button").forEach((x) => x.setAttribute("aria-pressed", String(x === b)));
  }));

  // ---------------------------------------------------------- what was dropped
  const dropBox = $("drop-browser");
  if (dropBox) {
    let part = "", step = "", reason = "";
    const drops = browser(dropBox, {
      height: 60,
      entry: ({ e, d }) => [el("b", { dir: "auto" }, oneLine(e.x ? firstText(e.x) : e.z || e.i)), el("span", { class: "num" }, ""),
        el("span", { class: "sub" }, el("bdi", {}, oneLine(e.w))), el("span", { class: "lay" }, el("bdi", {}, oneLine(d.part)))],
      detail: ({ e, d }) => [
        el("div", { class: "bar2" }, chip(d.step), chip(e.r, "bad"), chip(d.part)),
        el("h3", {}, el("bdi", {}, shown(e.i))),
        el("dl", { class: "facts2" }, el("dt", {}, "why"), el("dd", { dir: "auto" }, shown(e.w)), ...e.d.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, el("bdi", {}, shown(v)))])),
        e.z ? el("div", { class: "span", dir: "auto" }, shown(e.z)) : null,
        ...(e.x ? rowParts(e.x, { topic: data.topics[e.x.s] }).slice(2) : [d.step === "ingest" ? null : el("p", { class: "cut" }, d.note || "Its text is not at hand.")]),
      ],
    });
    const fits = (d) => (part ? d.part === part : !d.again) && (!step || d.step === step);
    function refresh() {
      const chosen = data.drops.filter(fits), counts = new Map();
      for (const d of chosen) for (const [r, n] of d.reasons) counts.set(r, (counts.get(r) || 0) + n);
      const ordered = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 12), most = ordered.length ? ordered[0][1] : 1;
      $("reasons").replaceChildren(...ordered.map(([r, n]) => el("button", { class: "reason", type: "button", "aria-pressed": String(r === reason), title: shown(r), on: { click: () => { reason = reason === r ? "" : r; refresh(); } } },
        el("span", {}, el("bdi", {}, shown(r))), el("span", { class: "bar" }, el("i", { style: "width:" + (100 * n / most) + "%" })), el("b", {}, number(n)))));
      const listed = chosen.flatMap((d) => d.examples.filter((e) => !reason || e.r === reason).map((e, i) => ({ e, d, i }))).sort((a, b) => a.i - b.i); // one of each stage before a second of any
      drops.set(listed);
      const total = chosen.reduce((sum, d) => sum + d.rows, 0), notes = [...new Set(chosen.map((d) => d.note).filter(Boolean))];
      $("dropped-h").textContent = part || step ? [part, step].filter(Boolean).map(shown).join(" · ") : "Examples of what was dropped";
      $("dropped-note").textContent = number(listed.length) + (listed.length === 1 ? " example of " : " examples of ") + number(total) + (reason ? ", of this reason" : "") + ". " + notes.map(shown).join(" ");
      $("all-drops").hidden = !part && !step && !reason;
      document.querySelectorAll(".pick").forEach((b) => b.setAttribute("aria-pressed", String(data.parts[b.dataset.part] === part && b.dataset.step === step)));
    }
    document.querySelectorAll(".pick").forEach((b) => b.addEventListener("click", () => {
      const again = b.getAttribute("aria-pressed") === "true";
      part = again ? "" : data.parts[b.dataset.part];
      step = again ? "" : b.dataset.step;
      reason = "";
      refresh();
      if (!again) $("dropped").scrollIntoView({ behavior: smooth, block: "nearest" });
    }));
    $("all-drops").addEventListener("click", () => { part = step = reason = ""; refresh(); });
    refresh();
  }

  // ---------------------------------------------------------- duplicates
  const clusterBox = $("cluster-browser");
  if (clusterBox) {
    const kind = $("c-kind"), why = $("c-why");
    choices(kind, "all kinds", [...new Set(data.clusters.flatMap((c) => c.k))].sort());
    choices(why, "all", [...new Set(data.clusters.map((c) => c.w))]);
    const likeness = (m) => m.c === null ? m.k : m.k + " " + m.c.toFixed(2);
    const clusters = browser(clusterBox, {
      height: 60,
      entry: (c) => [el("b", { dir: "auto" }, oneLine(c.m[0].x ? firstText(c.m[0].x) : c.m[0].i)), el("span", { class: "num" }, number(c.n)),
        el("span", { class: "sub" }, el("bdi", {}, oneLine([...new Set(c.m.map((m) => m.s))].join(", ")))), el("span", { class: "lay" }, c.m.length > 1 ? likeness(c.m[1]) : "")],
      detail: (c) => {
        const pair = el("div", {}), kept = c.m[0];
        const tabs = c.m.slice(1).map((m, i) => el("button", { class: "quiet", type: "button", "aria-pressed": "false", on: { click: () => show(i) } }, likeness(m)));
        function show(i) {
          tabs.forEach((t, k) => t.setAttribute("aria-pressed", String(k === i)));
          const m = c.m[i + 1];
          const [left, right] = kept.x && m.x ? diffSides(rowText(kept.x), rowText(m.x)) : [kept, m].map((r) => [r.x ? shown(rowText(r.x)) : el("span", { class: "cut" }, "The store no longer holds " + shown(r.v) + ".")]);
          const side = (name, r, nodes) => el("div", { class: "side" }, el("h4", {}, name), el("p", { class: "where" }, el("bdi", {}, shown(r.i))), el("div", { class: "text", dir: "auto" }, ...nodes));
          pair.replaceChildren(el("div", { class: "sides" }, side("stays", kept, left), side("leaves", m, right)));
        }
        show(0);
        const more = c.n - c.m.length;
        return [el("div", { class: "bar2" }, chip(number(c.n) + " rows"), chip(c.w), ...c.k.map((k) => chip(k))),
          tabs.length > 1 ? el("div", { class: "tabs", role: "group", "aria-label": "Rows that leave" }, ...tabs, more ? el("span", { class: "cut" }, "and " + number(more) + " more") : null) : null, pair];
      },
    });
    const refresh = () => {
      const listed = data.clusters.filter((c) => (!kind.value || c.k.includes(kind.value)) && (!why.value || c.w === why.value));
      clusters.set(listed);
      $("no-cluster").hidden = listed.length > 0;
    };
    kind.addEventListener("input", refresh);
    why.addEventListener("input", refresh);
    $("cluster-filters").addEventListener("submit", (e) => e.preventDefault());
    refresh();
  }

  // ---------------------------------------------------------- rows
  const box = $("row-browser");
  if (box) {
    const R = data.rows, F = { q: $("q"), source: $("f-source"), topic: $("f-topic"), license: $("f-license") };
    const topic = (r) => data.topics[r.s] || "", distinct = (of) => [...new Set(R.map(of).filter(Boolean))].sort();
    choices(F.source, "all sources", distinct((r) => r.s));
    choices(F.topic, "all topics", distinct(topic));
    choices(F.license, "all licences", distinct((r) => r.l));
    F.topic.hidden = F.topic.options.length < 3;
    const hay = new Map(), words = (r) => hay.get(r) || hay.set(r, [r.i, rowText(r), ...Object.values(r.k)].join("\n").toLowerCase()).get(r);
    const rows = browser(box, {
      height: 60,
      entry: (r) => [el("b", { dir: "auto" }, oneLine(firstText(r))), el("span", { class: "num" }, number(r.n[2] ?? r.n[1])),
        el("span", { class: "sub" }, el("bdi", {}, oneLine(r.i))), el("span", { class: "lay" }, el("bdi", {}, oneLine(topic(r) || r.s, 24)))],
      detail: (r) => rowParts(r, { topic: topic(r) }),
      chosen: (r) => remember(r),
    });
    const fits = (r) => (!F.source.value || r.s === F.source.value) && (!F.topic.value || topic(r) === F.topic.value) && (!F.license.value || r.l === F.license.value) && (!F.q.value || words(r).includes(F.q.value.toLowerCase()));
    function refresh(keep) {
      const listed = R.filter(fits);
      rows.set(listed, keep);
      $("n").textContent = listed.length === R.length ? number(R.length) + (R.length === 1 ? " row" : " rows") : number(listed.length) + " of " + number(R.length);
      $("none").hidden = listed.length > 0;
    }
    let recalled = false;
    function remember(r) {
      if (!recalled) return;
      const state = new URLSearchParams();
      for (const [name, input] of Object.entries(F)) if (input.value) state.set(name, input.value);
      if (r && r !== R[0]) state.set("row", r.h.slice(0, 16));
      history.replaceState(null, "", "#" + state);
    }
    function recall() {
      const state = new URLSearchParams(location.hash.slice(1)), wanted = R.find((r) => r.h.slice(0, 16) === state.get("row"));
      for (const [name, input] of Object.entries(F)) {
        input.value = state.get(name) || "";
        if (input.selectedIndex === -1) input.value = ""; // a choice that is not there
      }
      if (wanted && !fits(wanted)) clear();
      refresh(wanted);
      if (wanted) { box.classList.add("open"); $("matches").scrollIntoView({ behavior: "instant" }); }
    }
    const clear = () => { for (const input of Object.values(F)) input.value = ""; };
    for (const input of Object.values(F)) input.addEventListener("input", () => refresh());
    $("filters").addEventListener("submit", (e) => e.preventDefault());
    $("clear").addEventListener("click", () => { clear(); refresh(); });
    addEventListener("keydown", (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.key === "Escape") { document.activeElement.blur(); document.querySelectorAll(".browser.open").forEach((b) => b.classList.remove("open")); return; }
      if (document.activeElement === F.q && e.key === "Enter") { $("list").focus(); return; }
      if (/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
      const step = (n) => () => rows.move(n);
      const keys = { j: step(1), k: step(-1), "/": () => { F.q.focus(); F.q.select(); }, x: () => { clear(); refresh(); } };
      if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
    });
    addEventListener("hashchange", recall);
    recall();
    recalled = true;
  }
  document.body.dataset.ready = "1";
})();
