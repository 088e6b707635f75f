"use strict";
/* The shell's own script: curves, the theme, and taking over what a live page's server says. No text becomes markup here. */
const prerlkit = (() => {
  const store = JSON.parse(document.getElementById("prerlkit-data").textContent);
  const root = document.documentElement;
  const plots = new Map(); // chart id → {figure, spec, plot}
  const heard = [];
  let weight = 0; // of the smoothing: how much of the mean before a point stays in the mean at it
  const FAINT = "5c", BAND = "26", HEIGHT = 216;
  const DASHES = [[], [9, 4], [2, 3], [10, 3, 2, 3], [16, 4], [5, 5], [2, 6], [12, 3, 2, 3, 2, 3]];

  /** An element with text and children; strings are text, never markup. */
  function el(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  function table(caption, head, rows) {
    const cells = (row) => row.map((cell, n) => (n ? el("td", { class: "number" }, cell) : el("th", { scope: "row" }, cell)));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      el("table", {},
        el("caption", {}, el("span", {}, caption)),
        el("thead", {}, el("tr", {}, ...head.map((name, n) => el("th", { scope: "col", class: n ? "number" : null }, name)))),
        el("tbody", {}, ...rows.map((row) => el("tr", {}, ...cells(row))))));
  }

  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const lineColor = (n) => color(`--c${n % 8}`);

  function show(spec, value) {
    if (value === null || value === undefined) return "–";
    if (spec.percent) return (100 * value).toFixed(1);
    return Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(+value.toPrecision(4));
  }

  function withInterval(spec, line, n) {
    const value = show(spec, line.y[n]);
    const has = line.low && line.low[n] !== null && line.low[n] !== undefined;
    return has ? `${value} [${show(spec, line.low[n])}, ${show(spec, line.high[n])}]` : value;
  }

  const named = (spec) => spec.lines.filter((line) => line.look !== "faint");
  const visibleGroups = () => new Set([...document.querySelectorAll("[data-group]")].filter((box) => box.checked).map((box) => box.dataset.group));
  const shown = (line) => !line.group || !document.querySelector("[data-group]") || visibleGroups().has(line.group);

  /** Lines whose values are drawn faintly behind their means. In a plot they are the series before those of all lines. */
  const rawLines = (spec) => spec.lines.filter((line) => line.smooth && !spec.lines.some((other) => other.look === "faint" && other.color === line.color));
  const seriesAt = (spec, n) => 1 + rawLines(spec).length + n;

  /** An exponential moving average without bias towards 0, as TensorBoard's; each stage begins a new one. */
  function smoothed(spec, line) {
    if (!weight || !line.smooth) return line.y;
    let sum = 0, count = 0, next = 0;
    return line.y.map((value, n) => {
      for (; spec.x[n] >= line.breaks[next]; next += 1) [sum, count] = [0, 0];
      if (value === null) return null;
      [sum, count] = [weight * sum + (1 - weight) * value, count + 1];
      return sum / (1 - weight ** count);
    });
  }

  function yRange(spec, low, high) {
    for (const line of spec.lines) {
      for (const values of [line.low, line.high]) {
        for (const value of values && shown(line) ? values : []) {
          if (value === null) continue;
          low = low === null ? value : Math.min(low, value);
          high = high === null ? value : Math.max(high, value);
        }
      }
    }
    if (low === null || low === undefined) return [0, 1];
    if (spec.floor !== null) low = Math.min(low, spec.floor);
    const pad = high > low ? 0.06 * (high - low) : Math.abs(high) * 0.1 || 1;
    const below = spec.floor !== null && low >= spec.floor ? 0 : pad;
    const above = spec.percent && high <= 1 ? Math.min(high + pad, 1.02) : high + pad;
    return [low - below, Math.max(above, low + 1e-9)];
  }

  function drawMarks(plot, spec) {
    const { ctx, bbox } = plot, ratio = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textBaseline = "bottom";
    ctx.textAlign = "left";
    let free = bbox.left;
    const right = bbox.left + bbox.width;
    for (const mark of spec.marks) {
      const { min, max } = plot.scales.x;
      if (mark.x > max) continue;
      const x = Math.max(plot.valToPos(mark.x, "x", true), bbox.left);
      if (mark.x > min) {
        ctx.strokeStyle = mark.color === null ? color("--muted") : lineColor(mark.color);
        ctx.lineWidth = ratio;
        ctx.setLineDash([4 * ratio, 3 * ratio]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      if (mark.label && x >= free) {
        const width = ctx.measureText(mark.label).width, from = Math.min(x, right - width);
        ctx.fillStyle = color("--muted");
        if (from >= free) ctx.fillText(mark.label, from, bbox.top - 4 * ratio); // above the curves
        free = from + width + 10 * ratio;
      }
    }
    ctx.restore();
  }

  /** A band around a line of many values. */
  function drawBand(plot, spec, line) {
    const at = spec.x.map((_, n) => n).filter((n) => line.low[n] !== null);
    const [low, high] = [line.low, line.high].map((values) => at.map((n) => [plot.valToPos(spec.x[n], "x", true), plot.valToPos(values[n], "y", true)]));
    plot.ctx.fillStyle = lineColor(line.color) + BAND;
    plot.ctx.beginPath();
    for (const [x, y] of [...low, ...high.reverse()]) plot.ctx.lineTo(x, y);
    plot.ctx.fill();
  }

  function drawIntervals(plot, spec) {
    const { ctx, bbox } = plot, ratio = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - 4 * ratio, bbox.top, bbox.width + 8 * ratio, bbox.height);
    ctx.clip();
    ctx.setLineDash([]);
    ctx.lineWidth = 1.5 * ratio;
    spec.lines.forEach((line, at) => {
      if (!line.low || !plot.series[seriesAt(spec, at)].show) return undefined;
      if (line.smooth) return drawBand(plot, spec, line);
      ctx.strokeStyle = lineColor(line.color);
      spec.x.forEach((value, n) => {
        if (line.low[n] === null) return;
        const x = plot.valToPos(value, "x", true);
        if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) return;
        const [from, to] = [line.low[n], line.high[n]].map((y) => plot.valToPos(y, "y", true)), cap = 3 * ratio;
        ctx.beginPath();
        ctx.moveTo(x, from); ctx.lineTo(x, to);
        ctx.moveTo(x - cap, from); ctx.lineTo(x + cap, from);
        ctx.moveTo(x - cap, to); ctx.lineTo(x + cap, to);
        ctx.stroke();
      });
      return undefined;
    });
    ctx.restore();
  }

  function series(line, points) {
    const faint = line.look === "faint", dots = line.look === "points";
    const stroke = () => lineColor(line.color) + (faint ? FAINT : "");
    const few = dots || (!faint && points <= 40);
    return {
      label: line.name, stroke, width: faint || dots ? 1 : 2, spanGaps: true, show: shown(line),
      dash: faint ? undefined : dots ? [3, 4] : DASHES[line.color % 8],
      points: { show: few, size: dots ? 9 : 5, stroke: () => lineColor(line.color), fill: () => lineColor(line.color) },
    };
  }

  function options(spec, width, figure) {
    const axis = { stroke: () => color("--muted"), grid: { stroke: () => color("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const readout = figure.querySelector(".readout");
    return {
      width, height: HEIGHT, legend: { show: false }, padding: [spec.marks.some((mark) => mark.label) ? 20 : 8, 18, 0, 0],
      scales: {
        x: { time: false, range: (_, low, high) => (low === null ? [0, 1] : low === high ? [low - 1, high + 1] : [low, high]) },
        y: { range: (_, low, high) => yRange(spec, low, high) },
      },
      axes: [
        { ...axis, size: 30, gap: 4 },
        { ...axis, size: 52, gap: 6, values: (_, ticks) => ticks.map((tick) => show(spec, tick).replace(/\.0$/, "")) },
      ],
      cursor: { y: false, sync: { key: spec.xLabel }, points: { size: 8 } },
      series: [
        { label: spec.xLabel },
        ...rawLines(spec).map((line) => ({ ...series({ ...line, look: "faint" }, spec.x.length), show: weight > 0 && shown(line) })),
        ...spec.lines.map((line) => series(line, spec.x.length)),
      ],
      hooks: {
        draw: [(plot) => drawMarks(plot, spec), (plot) => drawIntervals(plot, spec)],
        setCursor: [(plot) => read(spec, readout, plot.cursor.idx)],
      },
    };
  }

  /** Under a chart: the values at the cursor, or each line's last one. It is the legend too. */
  function read(spec, readout, n) {
    const at = n === null || n === undefined ? null : n;
    const parts = named(spec).filter(shown).map((line) => {
      let own = at ?? line.y.findLastIndex((value) => value !== null);
      if (at !== null && line.look !== "points") while (own > 0 && line.y[own] === null) own -= 1;
      const value = own < 0 ? "–" : withInterval(spec, line, own);
      const mean = weight && line.smooth && own >= 0 ? `smoothed ${show(spec, smoothed(spec, line)[own])}` : "";
      return el("span", {}, el("i", { class: `swatch c${line.color % 8}` }), `${line.name} `, el("b", {}, value), mean);
    });
    const where = at === null ? "last" : `${spec.xLabel} ${spec.x[at]}`;
    readout.replaceChildren(el("span", {}, where), ...parts);
  }

  function describe(spec) {
    const said = named(spec).map((line) => {
      const values = line.y.filter((value) => value !== null);
      if (!values.length) return `${line.name}: nothing`;
      const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
      return `${line.name} from ${show(spec, values[0])} to ${show(spec, values.at(-1))}, lowest ${show(spec, low)}, highest ${show(spec, high)}`;
    });
    return `${spec.title}${spec.unit ? ` (${spec.unit})` : ""} by ${spec.xLabel}: ${said.join("; ")}. Arrow keys move along it.`;
  }

  function fillNumbers(figure, spec) {
    const details = figure.querySelector(".numbers");
    const lines = named(spec);
    const rows = () => spec.x.map((x, n) => [String(x), ...lines.map((line) => withInterval(spec, line, n))]);
    const fill = () => details.open && details.querySelector(".fill").replaceChildren(table(spec.title, [spec.xLabel, ...lines.map((line) => line.name)], rows()));
    details.ontoggle = fill;
    fill();
  }

  function move(event, plot, spec) {
    const last = spec.x.length - 1, now = plot.cursor.idx;
    const steps = { ArrowLeft: () => (now ?? last + 1) - 1, ArrowRight: () => (now ?? -1) + 1, Home: () => 0, End: () => last };
    const all = [...plots.values()].filter((other) => other.spec.xLabel === spec.xLabel);
    if (event.key === "Escape") return all.forEach((other) => other.plot.setCursor({ left: -10, top: -10 }));
    if (!steps[event.key]) return undefined;
    event.preventDefault();
    const x = spec.x[Math.max(0, Math.min(last, steps[event.key]()))];
    return all.forEach((other) => other.plot.setCursor({ left: other.plot.valToPos(x, "x"), top: 10 }));
  }

  const aligned = (spec) => [spec.x, ...rawLines(spec).map((line) => line.y), ...spec.lines.map((line) => smoothed(spec, line))];

  function draw(id, spec) {
    const figure = document.getElementById(`chart-${id}`), place = figure.querySelector(".plot");
    const old = plots.get(id), zoomed = old && (old.plot.scales.x.min > old.spec.x[0] || old.plot.scales.x.max < old.spec.x.at(-1));
    const zoom = zoomed ? { min: old.plot.scales.x.min, max: old.plot.scales.x.max } : null;
    old?.plot.destroy();
    const plot = new uPlot(options(spec, Math.max(place.clientWidth, 200), figure), aligned(spec), place);
    if (zoom) plot.setScale("x", zoom);
    plots.set(id, { spec, plot });
    place.setAttribute("role", "img");
    place.setAttribute("tabindex", "0");
    place.setAttribute("aria-label", describe(spec));
    place.onkeydown = (event) => move(event, plot, spec);
    place.onfocus = () => figure.querySelector(".readout").setAttribute("aria-live", "polite");
    place.onblur = () => figure.querySelector(".readout").removeAttribute("aria-live");
    read(spec, figure.querySelector(".readout"), null);
    fillNumbers(figure, spec);
  }

  function fitAll() {
    for (const { plot } of plots.values()) {
      const width = plot.root.parentElement.clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }

  function theme() {
    const button = document.getElementById("theme"), names = ["auto", "light", "dark"];
    const apply = (name) => {
      if (name === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = name;
      button.textContent = `Theme: ${name}`;
      for (const { plot } of plots.values()) plot.redraw(false);
    };
    let now = "auto";
    try { now = localStorage.getItem("prerlkit-theme") ?? "auto"; } catch { /* a file opened where storage is off */ }
    if (!names.includes(now)) now = "auto";
    button.hidden = false;
    button.onclick = () => {
      now = names[(names.indexOf(now) + 1) % names.length];
      try { localStorage.setItem("prerlkit-theme", now); } catch { /* as above */ }
      apply(now);
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(now));
    apply(now);
  }

  function showSeries(plot, spec) {
    rawLines(spec).forEach((line, n) => plot.setSeries(n + 1, { show: weight > 0 && shown(line) }));
    spec.lines.forEach((line, n) => plot.setSeries(seriesAt(spec, n), { show: shown(line) }));
  }

  /** One slider for each section with curves; all of them move together. */
  function smoothing() {
    const labels = [...document.querySelectorAll(".smoothing")];
    let waiting = 0;
    const apply = () => {
      waiting = 0;
      for (const { spec, plot } of plots.values()) {
        plot.batch(() => { plot.setData(aligned(spec), false); showSeries(plot, spec); });
        plot.redraw();
        read(spec, plot.root.closest("figure").querySelector(".readout"), null);
      }
    };
    for (const label of labels) {
      label.hidden = false;
      label.querySelector("input").oninput = (event) => {
        weight = Number(event.target.value);
        for (const other of labels) {
          other.querySelector("input").value = weight;
          other.querySelector("output").textContent = weight ? weight.toFixed(2) : "off";
        }
        waiting ||= requestAnimationFrame(apply);
      };
    }
  }

  function groups() {
    const field = document.querySelector(".groups");
    if (!field) return;
    field.hidden = false;
    field.onchange = () => {
      for (const { spec, plot } of plots.values()) {
        plot.batch(() => showSeries(plot, spec));
        read(spec, plot.root.closest("figure").querySelector(".readout"), null);
      }
      heard.forEach((tell) => tell());
    };
  }

  function replace(place, markup) {
    const open = [...place.querySelectorAll("details")].map((details) => details.open);
    place.innerHTML = markup; // from our own server, escaped there; the page's policy lets no script in it run
    place.querySelectorAll("details").forEach((details, n) => { details.open = open[n] ?? details.open; });
  }

  /** Take over a newer state of a page that goes on. What it can't take over piece by piece it loads anew. */
  function take(update, before) {
    const places = new Map([...document.querySelectorAll("[data-body]")].map((place) => [place.dataset.body, place]));
    const same = Object.keys(update.charts).join() === Object.keys(store.charts).join();
    if (!same || Object.keys(update.bodies).some((id) => !places.has(id))) return location.reload();
    document.title = update.title;
    if (update.lead !== before?.lead) replace(document.getElementById("lead"), update.lead);
    for (const [id, markup] of Object.entries(update.bodies)) {
      if (markup !== before?.bodies[id]) replace(places.get(id), markup);
    }
    store.data = update.data;
    store.charts = update.charts;
    for (const [id, spec] of Object.entries(update.charts)) {
      if (JSON.stringify(spec) !== JSON.stringify(plots.get(id)?.spec)) draw(id, spec);
    }
    heard.forEach((tell) => tell());
    return undefined;
  }

  async function watch() {
    const status = document.getElementById("live");
    let before = null, version = store.version;
    for (;;) {
      try {
        const answer = await fetch(`${store.live}?version=${version}`, { cache: "no-store" });
        if (answer.status === 200) {
          const update = await answer.json();
          take(update, before);
          [before, version] = [update, update.version];
        }
        status.textContent = answer.ok || answer.status === 304 ? "live" : "the run can't be read just now";
      } catch {
        status.textContent = "not live: its server has gone";
      }
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }

  function start() {
    for (const [id, spec] of Object.entries(store.charts)) draw(id, spec);
    groups();
    smoothing();
    theme();
    new ResizeObserver(fitAll).observe(document.body);
    if (store.live) watch();
  }

  return { el, table, start, visibleGroups, data: (name) => store.data[name], onUpdate: (tell) => heard.push(tell) };
})();
prerlkit.start();
