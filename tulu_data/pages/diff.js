(async () => {
  const list = $("list");
  if (!list) { document.body.dataset.ready = "1"; return; }
  const data = await unpack();
  const R = data.rows, box = document.querySelector(".browser");
  const F = { q: $("q"), kind: $("f-kind"), source: $("f-source") };
  const WORDS_OF = { a: "only in A", b: "only in B", c: "changed" };
  const sources = [...new Set(R.map((r) => r.s))].sort();
  F.source.append(el("option", { value: "" }, "all sources"), ...sources.map((s) => el("option", { value: s }, shown(s))));
  F.source.hidden = sources.length < 2;
  const texts = (r) => r.u ? r.u.flatMap(([, x, y]) => [x, y].filter(Boolean)) : r.t.map(([, x]) => x);
  const hay = R.map(() => null);
  const haystack = (i) => hay[i] || (hay[i] = [R[i].i, ...R[i].m, ...texts(R[i])].join("\n").toLowerCase());
  const oneLine = (s) => shown(s.slice(0, 200).replace(/\s+/g, " "));
  // What is told apart in a list: of a row that changed the first text that differs, from where it does.
  const firstOf = (r) => {
    if (!r.u) return (r.t.find(([label]) => label === "user") || r.t[0] || ["", ""])[1];
    const differs = r.u.find(([, , y]) => y !== 0);
    return differs ? differs[1] || differs[2] : r.d.length ? r.d[0].join(" ") : "";
  };

  let visible = [], current = -1;
  const view = virtualList(list, 60, (i, on) => {
    const r = R[i];
    return el("div", { class: "row" + (on ? " on" : ""), role: "option", id: "row-" + i, "aria-selected": String(on), on: { click: () => choose(i, true) } },
      el("b", { dir: "auto" }, oneLine(firstOf(r))), el("span", { class: "num " + r.k }, WORDS_OF[r.k]),
      el("span", { class: "sub" }, el("bdi", {}, shown(r.i))), el("span", { class: "lay" }));
  });

  function fits(i) {
    const r = R[i];
    if (F.kind.value && r.k !== F.kind.value) return false;
    if (F.source.value && r.s !== F.source.value) return false;
    return !F.q.value || haystack(i).includes(F.q.value.toLowerCase());
  }
  function refresh() {
    visible = R.map((_, i) => i).filter(fits);
    view.set(visible);
    const all = R.length.toLocaleString("en");
    $("n").textContent = visible.length === R.length ? all + (R.length === 1 ? " row" : " rows") : visible.length.toLocaleString("en") + " of " + all;
    $("none").hidden = visible.length > 0;
    box.hidden = visible.length === 0;
    document.querySelectorAll(".pick").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.kind === F.kind.value && b.dataset.source === F.source.value)));
    document.querySelectorAll("button.seg").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.kind === F.kind.value && !F.source.value)));
    if (visible.length) choose(visible.includes(current) ? current : visible[0], false);
    else { current = -1; $("detail").replaceChildren(); list.removeAttribute("aria-activedescendant"); remember(); }
  }

  // ---------------------------------------------------------- the row
  const dots = (is) => is ? el("span", { class: "cut" }, " … ") : null;
  const text = (kind, before, body, after) => el("div", { class: "text" + (kind ? " " + kind : ""), dir: "auto" }, dots(before), ...body, dots(after));
  const side = (label, kind, ...children) => el("div", { class: "side" + (kind ? " " + kind : "") }, el("h4", {}, shown(label)), ...children);
  function message([label, x, y, before, after]) {
    if (y === 0) return side(label + ", in both", "kept", text("", before, [shown(x)], after));
    const lacks = (letter) => el("div", { class: "none" }, "not in " + letter);
    if (x === null) return side(label, "", el("div", { class: "pair" }, lacks("A"), text("", 0, [el("ins", {}, shown(y))], 0)));
    if (y === null) return side(label, "", el("div", { class: "pair" }, text("", 0, [el("del", {}, shown(x))], 0), lacks("B")));
    const [was, is] = diffSides(x, y);
    return side(label, "", el("div", { class: "pair" }, text("was-a", before, was, after), text("is-b", before, is, after)));
  }
  const chip = (words, kind) => words ? el("span", { class: "chip" + (kind ? " " + kind : "") }, kind ? el("b", {}, shown(words)) : shown(words)) : null;
  function choose(i, open) {
    current = i;
    const r = R[i];
    view.select(visible.indexOf(i), true);
    list.setAttribute("aria-activedescendant", "row-" + i);
    $("detail").replaceChildren(...[
      el("div", { class: "bar2" }, ...[
        el("button", { class: "quiet back", type: "button", on: { click: () => { close(); list.focus({ preventScroll: true }); } } }, "← list"),
        chip(WORDS_OF[r.k], r.k), chip(r.s), ...r.m.map((words) => chip(words)),
        el("button", { class: "quiet", type: "button", id: "copy", on: { click: copyLink } }, "Copy link"),
      ].filter(Boolean)),
      el("h3", {}, el("bdi", {}, shown(r.i))),
      ...(r.d || []).map(([name, x, y]) => side(name, "", el("div", { class: "pair" }, text("", 0, [el("del", {}, shown(x || "none"))], 0), text("", 0, [el("ins", {}, shown(y || "none"))], 0)))),
      ...(r.u ? r.u.map(message) : r.t.map(([label, body, cut]) => side(label, "", text("", 0, [shown(body)], cut)))),
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
    if (current > 0) state.set("row", R[current].h);
    history.replaceState(null, "", "#" + state);
  }
  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    const wanted = R.findIndex((r) => r.h === state.get("row"));
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
  async function copyLink() {
    remember();
    try { await navigator.clipboard.writeText(location.href); $("copy").textContent = "Copied"; } catch { $("copy").textContent = "The link is in the address bar"; }
  }
  const clear = () => { for (const input of Object.values(F)) input.value = ""; };

  // ---------------------------------------------------------- hands
  for (const input of Object.values(F)) input.addEventListener("input", refresh);
  $("filters").addEventListener("submit", (e) => e.preventDefault());
  $("clear").addEventListener("click", () => { clear(); refresh(); });
  document.querySelectorAll(".pick,button.seg").forEach((b) => b.addEventListener("click", () => {
    const again = b.getAttribute("aria-pressed") === "true";
    clear();
    if (!again) { F.kind.value = b.dataset.kind; F.source.value = b.dataset.source || ""; }
    if (F.source.selectedIndex === -1) F.source.value = ""; // none of its rows is in the sample
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
    const keys = { j: () => move(1), k: () => move(-1), "/": () => { close(); F.q.focus(); F.q.select(); }, x: () => { clear(); refresh(); }, l: copyLink };
    if (active === list) Object.assign(keys, { ArrowDown: keys.j, ArrowUp: keys.k, PageDown: () => move(10), PageUp: () => move(-10), Home: () => move(-R.length), End: () => move(R.length), Enter: () => choose(current, true) });
    if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
  });
  addEventListener("hashchange", recall);
  recall();
  document.body.dataset.ready = "1";
})();
