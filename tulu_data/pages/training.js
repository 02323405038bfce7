(async () => {
  const data = await unpack();
  const P = data.plot, figures = [...document.querySelectorAll(".curves .panel")];
  const swatch = (i) => el("i", { class: "swatch", style: "--c:var(--c" + (i % 8) + ")" });

  // ---------------------------------------------------------- reading a value off
  function figure(v) {
    if (Number.isInteger(v) && Math.abs(v) < 1e7) return v.toLocaleString("en");
    if (Math.abs(v) >= 1e3 && Math.abs(v) < 1e7) return Math.round(v).toLocaleString("en");
    const text = String(Number(v.toPrecision(4)));
    return Math.abs(v) < 1e-4 && v !== 0 ? v.toExponential(3).replace(/\.?0*e/, "e") : text.replace("e+", "e");
  }
  function nearest(steps, step) {
    let low = 0, high = steps.length - 1;
    while (low < high) { const middle = (low + high) >> 1; if (steps[middle] < step) low = middle + 1; else high = middle; }
    return low > 0 && step - steps[low - 1] <= steps[low] - step ? low - 1 : low;
  }
  const across = (panel, step) => P.left + (P.right - P.left) * ((step - panel.x[0]) / (panel.x[1] - panel.x[0] || 1));
  function line(panel, step) { return step >= panel.x[0] && step <= panel.x[1] ? "M" + across(panel, step).toFixed(1) + " " + P.top + "V" + P.bottom : ""; }
  let at = null;
  function show(index, wanted) {
    const panel = data.panels[index], box = figures[index].querySelector(".read");
    const rows = panel.runs.map((run) => {
      const i = nearest(run.s, wanted);
      return { run, step: run.s[i], value: run.v[i], mean: run.m && run.n[nearest(run.m, run.s[i])] };
    });
    const step = rows.reduce((a, b) => Math.abs(b.step - wanted) < Math.abs(a.step - wanted) ? b : a).step;
    at = { index, step };
    box.replaceChildren(el("b", {}, "step " + figure(step)), ...rows.map((row) => el("div", {},
      data.runs.length > 1 ? swatch(row.run.r) : null,
      data.runs.length > 1 ? el("span", { class: "who" }, shown(data.runs[row.run.r])) : null,
      el("b", {}, figure(row.value)),
      row.mean === undefined ? null : el("small", {}, "mean " + figure(row.mean)),
      row.step === step ? null : el("small", {}, "at step " + figure(row.step)))));
    figures.forEach((f, i) => {
      f.querySelector(".cross").setAttribute("d", line(data.panels[i], step));
      if (i !== index) f.querySelector(".read").hidden = true;
    });
    box.hidden = false;
    const svg = figures[index].querySelector("svg"), scale = svg.clientWidth / P.width, x = across(panel, step) * scale;
    const left = x + 16 + box.offsetWidth > figures[index].clientWidth ? Math.max(6, x - box.offsetWidth - 4) : x + 18;
    box.style.left = left + "px";
    box.style.top = (P.top * scale + 4) + "px";
  }
  function hide() {
    at = null;
    figures.forEach((f) => { f.querySelector(".read").hidden = true; f.querySelector(".cross").setAttribute("d", ""); });
  }
  figures.forEach((f, index) => {
    const panel = data.panels[index];
    const point = (e) => {
      const rect = f.querySelector("svg").getBoundingClientRect();
      const x = (e.clientX - rect.left) * P.width / rect.width;
      show(index, panel.x[0] + (x - P.left) / (P.right - P.left) * (panel.x[1] - panel.x[0]));
    };
    f.addEventListener("pointermove", point);
    f.addEventListener("pointerdown", point);
    f.addEventListener("pointerleave", (e) => { if (e.pointerType === "mouse") hide(); });
    f.addEventListener("blur", hide);
    f.addEventListener("keydown", (e) => {
      const steps = panel.runs[0].s, last = steps.length - 1;
      const i = at && at.index === index ? nearest(steps, at.step) : null;
      const to = { ArrowLeft: i === null ? last : i - 1, ArrowRight: i === null ? 0 : i + 1, Home: 0, End: last }[e.key];
      if (e.key === "Escape") { hide(); return; }
      if (to === undefined || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      show(index, steps[Math.max(0, Math.min(last, to))]);
    });
  });

  // ---------------------------------------------------------- answers
  if (data.samples.length) {
    const groups = new Map();
    for (const sample of data.samples) {
      const key = sample.r + " " + sample.s;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(sample);
    }
    const keys = [...groups.keys()], select = $("at");
    const chip = (words, kind) => el("span", { class: "chip" + (kind ? " " + kind : "") }, kind ? el("b", {}, shown(words)) : shown(words));
    const side = (name, body) => el("div", { class: "side" }, el("h4", {}, shown(name)), el("div", { class: "text", dir: "auto" }, shown(body)));
    for (const key of keys) {
      const { r, s } = groups.get(key)[0];
      select.append(el("option", { value: key }, (data.runs.length > 1 ? shown(data.runs[r]) + ", " : "") + "step " + s.toLocaleString("en")));
    }
    const draw = () => {
      const i = keys.indexOf(select.value), held = groups.get(keys[i]);
      $("before").disabled = i === 0;
      $("after").disabled = i === keys.length - 1;
      $("n").textContent = held.length + (held.length === 1 ? " answer" : " answers");
      $("answers").replaceChildren(...held.map((a) => el("article", { class: "answer" },
        el("div", { class: "bar2" },
          a.w === null ? chip("not judged", "warn") : chip("reward " + a.w, a.good ? "good" : "bad"),
          a.e === false ? chip("did not come to its end", "warn") : null,
          a.d ? chip(a.d) : null),
        side("prompt", a.p), side("answer", a.c), side("truth, for " + a.v, a.t))));
    };
    const move = (step) => { select.selectedIndex = Math.max(0, Math.min(keys.length - 1, select.selectedIndex + step)); draw(); };
    select.addEventListener("change", draw);
    $("before").addEventListener("click", () => move(-1));
    $("after").addEventListener("click", () => move(1));
    $("steps").addEventListener("submit", (e) => e.preventDefault());
    select.selectedIndex = keys.length - 1;
    draw();
  }
  document.body.dataset.ready = "1";
})();
