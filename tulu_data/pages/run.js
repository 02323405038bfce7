(async () => {
  const list = $("list");
  const data = await unpack();
  const R = data.rows;
  const F = { q: $("q"), reason: $("f-reason"), family: $("f-family") };
  const options = (select, all, values) => select.append(el("option", { value: "" }, all), ...values.map((v) => el("option", { value: v }, shown(v))));
  const families = [...new Set(R.map((r) => r.f).filter(Boolean))].sort();
  options(F.reason, "accepted and rejected", ["accepted", "rejected", ...data.reasons]);
  options(F.family, "all families", families);
  F.family.hidden = families.length < 2;
  const hay = R.map(() => null);
  const text = (i) => hay[i] || (hay[i] = [R[i].p, R[i].a, R[i].w, R[i].i, R[i].t].join("\n").toLowerCase());
  const oneLine = (s) => shown(s.slice(0, 200).replace(/\s+/g, " "));

  let visible = [], current = -1;
  const view = virtualList(list, 60, (i, on) => {
    const r = R[i];
    return el("div", { class: "row" + (on ? " on" : "") + (r.o ? "" : " off"), role: "option", id: "row-" + i, "aria-selected": on, on: { click: () => choose(i, true) } },
      el("b", {}, el("bdi", {}, oneLine(r.p || r.d || r.r || ""))), el("span", { class: "num " + (r.o ? "kept" : "leak") }, r.o ? "✓" : "✗"),
      el("span", { class: "sub" }, el("bdi", {}, oneLine(r.w))), el("span", { class: "lay" }, shown(r.o ? r.f || r.e || "" : r.r)));
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
    $("n").textContent = visible.length === R.length ? R.length.toLocaleString("en") + " rows" : visible.length.toLocaleString("en") + " of " + R.length.toLocaleString("en");
    $("none").hidden = visible.length > 0;
    document.querySelector(".browser").hidden = visible.length === 0;
    if (visible.length) choose(visible.includes(current) ? current : visible[0], false);
    else { current = -1; $("detail").replaceChildren(); }
  }

  const side = (name, body) => body ? el("div", { class: "side" }, el("h4", {}, name), el("div", { class: "text", dir: "auto" }, shown(body))) : null;
  function choose(i, open) {
    current = i;
    const r = R[i];
    view.select(visible.indexOf(i), true);
    list.setAttribute("aria-activedescendant", "row-" + i);
    const chips = [
      el("button", { class: "quiet back", type: "button", on: { click: () => document.querySelector(".browser").classList.remove("open") } }, "← list"),
      el("span", { class: "chip " + (r.o ? "good" : "bad") }, el("b", {}, r.o ? "accepted" : shown(r.r))),
      r.e ? el("span", { class: "chip" }, shown(r.e)) : null,
      r.k ? el("span", { class: "chip" }, r.k + " agree") : null,
      r.f ? el("span", { class: "chip" }, shown(r.f)) : null,
      r.n === null ? null : el("span", { class: "chip" }, r.n.toLocaleString("en") + " tokens" + (r.u === null ? "" : ", $" + r.u.toFixed(5))),
    ];
    const constraints = r.c.length ? el("div", { class: "side" }, el("h4", {}, "constraints"), el("ul", { class: "list-of" }, ...r.c.map(([words, kept, lacks]) =>
      el("li", { class: kept === false ? "broken" : kept ? "kept" : "" }, shown(words) + (lacks ? ": " + shown(lacks) : ""))))) : null;
    $("detail").replaceChildren(...[el("div", { class: "bar2" }, ...chips.filter(Boolean)), el("h3", {}, el("bdi", {}, shown(r.i))),
      side("why", r.d), side("persona", r.w), side("prompt", r.p), constraints, side("answer", r.a), side(r.v || "truth", r.t)].filter(Boolean));
    $("detail").scrollTop = 0;
    if (open) document.querySelector(".browser").classList.add("open");
  }

  for (const input of Object.values(F)) input.addEventListener("input", refresh);
  $("clear").addEventListener("click", () => { for (const input of Object.values(F)) input.value = ""; refresh(); });
  document.querySelectorAll(".pick").forEach((b) => b.addEventListener("click", () => {
    F.reason.value = b.dataset.reason;
    refresh();
    $("matches").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
  }));
  const move = (step) => { const at = visible.indexOf(current) + step; if (visible[at] !== undefined) choose(visible[at], false); };
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Escape") { document.activeElement.blur(); document.querySelector(".browser").classList.remove("open"); return; }
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
    const keys = { j: () => move(1), k: () => move(-1), "/": () => F.q.focus() };
    if (document.activeElement === list) Object.assign(keys, { ArrowDown: () => move(1), ArrowUp: () => move(-1), PageDown: () => move(10), PageUp: () => move(-10) });
    if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
  });
  refresh();
  document.body.dataset.ready = "1";
})();
