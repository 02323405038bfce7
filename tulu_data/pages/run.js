(async () => {
  const list = $("list");
  if (!list) { document.body.dataset.ready = "1"; return; }
  const data = await unpack();
  const R = data.rows, box = document.querySelector(".browser");
  const F = { q: $("q"), reason: $("f-reason"), family: $("f-family") };
  const options = (select, all, values) => select.append(el("option", { value: "" }, all), ...values.map((v) => el("option", { value: v }, shown(v))));
  const families = [...new Set(R.map((r) => r.f).filter(Boolean))].sort();
  options(F.reason, "accepted and rejected", data.reasons.length ? ["accepted", "rejected", ...data.reasons] : ["accepted"]);
  options(F.family, "all families", families);
  F.family.hidden = families.length < 2;
  const hay = R.map(() => null);
  const text = (i) => hay[i] || (hay[i] = [R[i].p, R[i].a, R[i].w, R[i].i, R[i].t, R[i].d, ...R[i].c.map((c) => c[0])].join("\n").toLowerCase());
  const oneLine = (s) => shown(s.slice(0, 200).replace(/\s+/g, " "));

  let visible = [], current = -1;
  const view = virtualList(list, 60, (i, on) => {
    const r = R[i];
    return el("div", { class: "row" + (on ? " on" : "") + (r.o ? "" : " off"), role: "option", id: "row-" + i, "aria-selected": String(on), on: { click: () => choose(i, true) } },
      el("b", { dir: "auto" }, oneLine(r.p || r.d || r.r || "")), el("span", { class: "num " + (r.o ? "kept" : "leak") }, r.o ? "✓" : "✗"),
      el("span", { class: "sub", dir: "auto" }, oneLine(r.w)), el("span", { class: "lay" }, el("bdi", {}, oneLine(r.o ? r.f || r.e || "" : r.r))));
  });

  function fits(i) {
    const r = R[i], wanted = F.reason.value;
    if (wanted === "accepted" ? !r.o : wanted === "rejected" ? r.o : wanted && r.r !== wanted) return false;
    if (F.family.value && r.f !== F.family.value) return false;
    return !F.q.value || text(i).includes(F.q.value.toLowerCase());
  }
  function refresh() {
    visible = R.map((_, i) => i).filter(fits);
    view.set(visible);
    const all = R.length.toLocaleString("en");
    $("n").textContent = visible.length === R.length ? all + (R.length === 1 ? " row" : " rows") : visible.length.toLocaleString("en") + " of " + all;
    $("none").hidden = visible.length > 0;
    box.hidden = visible.length === 0;
    document.querySelectorAll(".pick").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.reason === F.reason.value)));
    if (visible.length) choose(visible.includes(current) ? current : visible[0], false);
    else { current = -1; $("detail").replaceChildren(); list.removeAttribute("aria-activedescendant"); remember(); }
  }

  // ---------------------------------------------------------- the row
  // Fenced code keeps its fences and is set as code, to the end where it is not closed.
  const fenced = (body) => shown(body).split(/(^```[^`\n]*\n[^]*?(?:^```[^\S\n]*$\n?|(?![^])))/m).map((part, k) => k % 2 ? el("code", { class: "code", dir: "ltr" }, part.replace(/\n$/, "")) : part);
  const side = (name, body, kind) => body ? el("div", { class: "side" }, el("h4", {}, shown(name)), el("div", { class: "text" + (kind ? " " + kind : ""), dir: "auto" }, ...fenced(body))) : null;
  const chip = (words, kind) => words ? el("span", { class: "chip" + (kind ? " " + kind : "") }, kind ? el("b", {}, shown(words)) : shown(words)) : null;
  const verdicts = [["✗ broken", "broken"], ["✓ kept", "kept"], ["not checked", "soft"]];
  function constraint([words, kept, lacks]) {
    const [verdict, kind] = verdicts[kept === null ? 2 : Number(kept)];
    return el("li", {}, el("b", { class: kind }, verdict), el("span", { dir: "auto" }, shown(words)), lacks ? el("small", { dir: "auto" }, shown(lacks)) : null);
  }
  function choose(i, open) {
    current = i;
    const r = R[i];
    view.select(visible.indexOf(i), true);
    list.setAttribute("aria-activedescendant", "row-" + i);
    const tokens = r.n ? r.n.toLocaleString("en") + " tokens, " + (r.u === null ? "price not known" : "$" + r.u.toFixed(5)) : null;
    $("detail").replaceChildren(...[
      el("div", { class: "bar2" }, ...[
        el("button", { class: "quiet back", type: "button", on: { click: () => { close(); list.focus({ preventScroll: true }); } } }, "← list"),
        chip(r.o ? "accepted" : r.r, r.o ? "good" : "bad"),
        chip(r.e && (r.o ? "shown " + (data.evidence[r.e] || "by " + r.e) : r.e)),
        chip(r.k && r.k + " agree"), chip(r.f), chip(tokens),
      ].filter(Boolean)),
      el("h3", {}, el("bdi", {}, shown(r.i)), " ", el("small", {}, "index " + r.x)),
      side("why", r.d), side("persona", r.w), side("prompt", r.p),
      r.c.length ? el("div", { class: "side" }, el("h4", {}, "constraints"), el("ul", { class: "list-of" }, ...r.c.map(constraint))) : null,
      side("answer", r.a), side(r.v ? "truth, for " + r.v : "truth", r.t, r.t && /^\{\n/.test(r.t) ? "mono" : ""),
    ].filter(Boolean));
    $("detail").scrollTop = 0;
    if (open) {
      box.classList.add("open");
      if (innerWidth <= 720) $("matches").scrollIntoView({ behavior: "instant" });
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
    const state = new URLSearchParams();
    for (const [name, input] of Object.entries(F)) if (input.value) state.set(name, input.value);
    if (current > 0) state.set("row", R[current].i);
    history.replaceState(null, "", "#" + state);
  }
  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    const wanted = R.findIndex((r) => r.i === state.get("row"));
    for (const [name, input] of Object.entries(F)) {
      input.value = state.get(name) || "";
      if (input.selectedIndex === -1) input.value = ""; // a choice that is not there
    }
    if (wanted >= 0 && !fits(wanted)) clear();
    current = wanted;
    refresh();
    if (wanted < 0) return;
    box.classList.add("open");
    $("matches").scrollIntoView({ behavior: "instant" });
  }
  const clear = () => { for (const input of Object.values(F)) input.value = ""; };

  // ---------------------------------------------------------- hands
  for (const input of Object.values(F)) input.addEventListener("input", refresh);
  $("filters").addEventListener("submit", (e) => e.preventDefault());
  $("clear").addEventListener("click", () => { clear(); refresh(); });
  document.querySelectorAll(".pick").forEach((b) => b.addEventListener("click", () => {
    const again = F.reason.value === b.dataset.reason;
    clear();
    if (!again) F.reason.value = b.dataset.reason;
    close();
    refresh();
    if (!again) $("matches").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
  }));
  const move = (step) => {
    const at = Math.max(0, Math.min(visible.length - 1, visible.indexOf(current) + step));
    if (visible.length && visible[at] !== current) choose(visible[at], false);
  };
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const active = document.activeElement;
    if (e.key === "Escape") { e.preventDefault(); active.blur(); close(); return; }
    if (active === F.q && e.key === "Enter") { list.focus(); return; }
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName)) return;
    const keys = { j: () => move(1), k: () => move(-1), "/": () => { close(); F.q.focus(); F.q.select(); }, x: () => { clear(); refresh(); } };
    if (active === list) Object.assign(keys, { ArrowDown: keys.j, ArrowUp: keys.k, PageDown: () => move(10), PageUp: () => move(-10), Home: () => move(-R.length), End: () => move(R.length), Enter: () => choose(current, true) });
    if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
  });
  addEventListener("hashchange", recall);
  recall();
  document.body.dataset.ready = "1";
})();
