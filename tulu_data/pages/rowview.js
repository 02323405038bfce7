// Rows of a dataset: a list beside what is chosen in it, and a row with its messages, truth and provenance.
const number = (n) => n.toLocaleString("en");
const oneLine = (text, most = 200) => shown(String(text ?? "").slice(0, most).replace(/\s+/g, " "));
const chip = (words, kind) => words ? el("span", { class: "chip" + (kind ? " " + kind : "") }, kind ? el("b", {}, shown(words)) : shown(words)) : null;
const choices = (select, all, values) => select.append(el("option", { value: "" }, all), ...values.map((v) => el("option", { value: v }, shown(v))));
// `box` holds .list and .detail. entry(item) gives a line's nodes, detail(item) those of what is chosen.
function browser(box, { height, entry, detail, chosen = () => {} }) {
  const list = box.querySelector(".list"), side = box.querySelector(".detail"), name = box.id;
  let items = [], current = -1;
  const view = virtualList(list, height, (item, on) => {
    const i = items.indexOf(item);
    return el("div", { class: "row" + (on ? " on" : ""), role: "option", id: name + "-" + i, "aria-selected": String(on), on: { click: () => { choose(i, true); list.focus({ preventScroll: true }); } } }, ...entry(item));
  });
  function choose(i, open) {
    if (i < 0 || i >= items.length) return;
    current = i;
    view.select(i, true);
    list.setAttribute("aria-activedescendant", name + "-" + i);
    const back = el("button", { class: "quiet back", type: "button", on: { click: () => { box.classList.remove("open"); view.select(current, true); list.focus({ preventScroll: true }); } } }, "← list");
    side.replaceChildren(back, ...detail(items[i]).filter(Boolean));
    side.scrollTop = 0;
    if (open) {
      box.classList.add("open");
      if (innerWidth <= 720) box.scrollIntoView({ behavior: "instant" });
    }
    chosen(items[i]);
  }
  const move = (step) => choose(Math.max(0, Math.min(items.length - 1, current + step)), false);
  const keys = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  list.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Enter") choose(current, true);
    else if (keys[e.key]) move(keys[e.key]);
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  return {
    set(next, keep) {
      items = next;
      view.set(items);
      box.hidden = !items.length;
      current = -1;
      box.classList.remove("open");
      if (items.length) choose(Math.max(0, items.indexOf(keep)), false);
      else { side.replaceChildren(); list.removeAttribute("aria-activedescendant"); chosen(null); }
    },
    choose(item, open) { choose(items.indexOf(item), open); },
    move,
  };
}
// ------------------------------------------------------------ a row, as the page's data holds it
const ROLES = { system: "system", user: "user", assistant: "assistant", tool: "tool" };
function message([role, text, left, calls]) {
  if (role === null) return el("p", { class: "cut" }, number(text) + (text === 1 ? " more message is not shown" : " more messages are not shown"));
  return el("div", { class: "message " + (ROLES[role] || "") }, el("h4", {}, shown(role)),
    el("div", { class: "text", dir: "auto" }, shown(text), left ? el("span", { class: "cut" }, " … " + number(left) + " characters more") : null),
    calls ? el("pre", {}, shown(calls)) : null);
}
const firstText = (row) => (row.x.messages.find((m) => m[0] === "user") || row.x.messages[0] || [null, ""])[1];
function rowParts(row, { topic } = {}) {
  const [turns, chars, tokens] = row.n, told = row.k, parts = [];
  parts.push(el("div", { class: "bar2" }, ...[chip(row.s), chip(topic), chip(row.u), chip(row.l || "no licence stated"), chip(number(turns) + (turns === 1 ? " message" : " messages")),
    chip(tokens === null ? number(chars) + " characters" : number(tokens) + " tokens"), ...row.t.map((t) => chip(t))].filter(Boolean)));
  parts.push(el("h3", {}, el("bdi", {}, shown(row.i))));
  parts.push(el("div", { class: "talk" }, ...row.x.messages.map(message)));
  if (row.x.chosen) {
    const side = (name, model, rating) => el("div", { class: "side " + name }, el("h4", { class: "verdict" }, name + [model, rating === undefined ? null : "rated " + rating].filter(Boolean).map((w) => " · " + shown(String(w))).join("")), ...row.x[name].map(message));
    parts.push(el("div", { class: "sides" }, side("chosen", told.chosen_model, told.chosen_rating), side("rejected", told.rejected_model, told.rejected_rating)));
  }
  for (const [key, name] of [["ground_truth", "true answer"], ["verifier", "verifier"], ["constraint", "constraint"]])
    if (told[key]) parts.push(el("div", { class: "message truth" }, el("h4", {}, name), el("div", { class: "text", dir: "auto" }, shown(told[key]))));
  const facts = [...Object.entries(row.p).map(([k, v]) => [k.replace("_", " "), Array.isArray(v) ? v.join(", ") : v]), ["row_sha", row.h]];
  parts.push(el("details", { class: "prov" }, el("summary", {}, "Where it came from"), el("table", { class: "data" }, el("tbody", {}, ...facts.map(([k, v]) => el("tr", {}, el("th", { scope: "row" }, shown(k)), el("td", { class: "mono" }, shown(String(v)))))))));
  return parts;
}
const rowText = (row) => Object.entries(row.x).map(([column, listed]) => listed.map(([role, text, left]) => (role === null ? "…" : (column === "messages" ? role : column) + "\n" + text + (left ? " …" : ""))).join("\n\n")).join("\n\n");
