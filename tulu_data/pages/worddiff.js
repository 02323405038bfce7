// What two texts have in common, word by word: Myers' shortest edit script (Algorithmica 1 (1986)) between the common
// beginning and end. Beyond `most` edits the texts are too unlike for one to help: what differs is told whole.
const WORDS = /[\p{L}\p{N}\p{M}_]+|\s+|[^\s\p{L}\p{N}\p{M}_]/gu;
const DIFF_WORDS = 20000, DIFF_EDITS = 1200;
// Runs [kind, text]: "=" in both, "-" in `a` alone, "+" in `b` alone. All but "+" gives `a`, all but "-" gives `b`.
function wordDiff(a, b, most = DIFF_EDITS) {
  const x = a.match(WORDS) || [], y = b.match(WORDS) || [], runs = [];
  const add = (kind, text) => {
    if (!text) return;
    const last = runs[runs.length - 1];
    if (last && last[0] === kind) last[1] += text; else runs.push([kind, text]);
  };
  let start = 0, end = 0;
  while (start < x.length && start < y.length && x[start] === y[start]) start++;
  while (end < x.length - start && end < y.length - start && x[x.length - 1 - end] === y[y.length - 1 - end]) end++;
  const p = x.slice(start, x.length - end), q = y.slice(start, y.length - end);
  add("=", x.slice(0, start).join(""));
  const edits = p.length && q.length && p.length + q.length <= DIFF_WORDS ? shortestEdits(p, q, most) : null;
  if (edits) for (const [kind, text] of edits) add(kind, text);
  else { add("-", p.join("")); add("+", q.join("")); }
  add("=", x.slice(x.length - end).join(""));
  return joinedChanges(runs);
}
function shortestEdits(p, q, most) {
  const n = p.length, m = q.length, limit = Math.min(n + m, most), trace = [];
  const v = new Int32Array(2 * limit + 3); // v[k + limit + 1]: how far along p diagonal k has come
  const at = (k) => k + limit + 1;
  for (let d = 0; d <= limit; d++) {
    trace.push(v.slice(at(-d - 1), at(d + 1) + 1));
    for (let k = -d; k <= d; k += 2) {
      let i = k === -d || (k !== d && v[at(k - 1)] < v[at(k + 1)]) ? v[at(k + 1)] : v[at(k - 1)] + 1;
      while (i < n && i - k < m && p[i] === q[i - k]) i++;
      v[at(k)] = i;
      if (i >= n && i - k >= m) return backwards(p, q, trace, d);
    }
  }
  return null;
}
function backwards(p, q, trace, last) {
  const edits = [];
  let i = p.length, j = q.length;
  for (let d = last; d > 0; d--) {
    const v = trace[d], k = i - j, of = (diagonal) => v[diagonal + d + 1];
    const down = k === -d || (k !== d && of(k - 1) < of(k + 1));
    const begin = down ? of(k + 1) : of(k - 1) + 1;
    while (i > begin) { edits.push(["=", p[--i]]); j--; }
    if (down) edits.push(["+", q[--j]]); else edits.push(["-", p[--i]]);
  }
  while (i > 0) edits.push(["=", p[--i]]);
  return edits.reverse();
}
// White space and lone marks between two changes are no landmark: they go with the changes, which are told as one.
function joinedChanges(runs) {
  const found = [];
  let gone = "", come = "";
  const flush = () => { if (gone) found.push(["-", gone]); if (come) found.push(["+", come]); gone = come = ""; };
  runs.forEach(([kind, text], i) => {
    if (kind === "-") gone += text;
    else if (kind === "+") come += text;
    else if (i > 0 && i < runs.length - 1 && !/[\p{L}\p{N}]/u.test(text) && text.length < 4) { gone += text; come += text; }
    else { flush(); found.push([kind, text]); }
  });
  flush();
  return found;
}
// The two texts as nodes, side by side: what only one of them has is marked.
function diffSides(a, b) {
  const runs = wordDiff(a, b);
  const side = (own, name) => runs.filter(([kind]) => kind === "=" || kind === own).map(([kind, text]) => kind === "=" ? shown(text) : el(name, {}, shown(text)));
  return [side("-", "del"), side("+", "ins")];
}
