"use strict";
const $ = (id) => document.getElementById(id);
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}
// Text from data: bidi overrides and control characters are shown, not obeyed.
const UNSAFE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;
const shown = (text) => text.replace(UNSAFE, "\u00b7");
async function unpack(id = "data") {
  const raw = atob($(id).textContent.trim());
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
const remembered = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* a page from disk may have no storage */ } },
};
(() => {
  const root = document.documentElement;
  const saved = remembered.get("tulu-theme");
  if (saved) root.dataset.theme = saved;
  $("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remembered.set("tulu-theme", root.dataset.theme);
  });
})();
// A list of any length with as many nodes as fit the window.
function virtualList(box, height, draw) {
  const inner = el("div", { class: "rows" });
  box.replaceChildren(inner);
  let items = [], selected = -1, first = -1, last = -1;
  function paint(force) {
    const from = Math.max(0, Math.floor(box.scrollTop / height) - 6);
    const to = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + 6);
    if (!force && from === first && to === last) return;
    [first, last] = [from, to];
    const nodes = [];
    for (let i = from; i < to; i++) {
      const node = draw(items[i], i === selected);
      node.style.top = i * height + "px";
      node.style.height = height + "px";
      nodes.push(node);
    }
    inner.replaceChildren(...nodes);
  }
  box.addEventListener("scroll", () => requestAnimationFrame(() => paint(false)), { passive: true });
  new ResizeObserver(() => paint(true)).observe(box);
  return {
    set(next) { items = next; inner.style.height = items.length * height + "px"; box.scrollTop = 0; paint(true); },
    select(index, reveal) {
      selected = index;
      if (reveal && index >= 0) {
        const top = index * height;
        if (top < box.scrollTop) box.scrollTop = top;
        else if (top + height > box.scrollTop + box.clientHeight) box.scrollTop = top + height - box.clientHeight;
      }
      paint(true);
    },
  };
}
