// Curves: a line a logged metric, with hover and arrow keys, exponential smoothing and a log scale.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent).curves;
  const figures = [...document.querySelectorAll(".chart")];
  if (!figures.length) return;
  const smooth = document.getElementById("smooth"), log = document.getElementById("log");
  const { HEIGHT, TOP, BOTTOM, element, worded, smoothed, axes, path, nearest } = plotting;
  const chart = (figure) => {
    const [stage, kind, index] = figure.dataset.at.split(" ");
    const { label, steps, values, summary, held_out, best } = data[stage][kind][index];
    // The same metric on held-out rows, by step.
    const held = held_out ?? { steps: [], values: [] };
    const heldAt = new Map(held.steps.map((step, i) => [step, held.values[i]]));
    const ends = [...steps, ...held.steps];
    const first = ends.reduce((a, b) => Math.min(a, b)), last = ends.reduce((a, b) => Math.max(a, b));
    const plot = figure.querySelector(".plot"), readout = figure.querySelector("output");
    let chosen = -1, cross = null, dot = null, scale = null, line = [], weight = 0;

    const svg = element("svg", { tabindex: 0, role: "slider", "aria-orientation": "horizontal" });
    svg.setAttribute("aria-label", label + " by step: " + summary);
    svg.setAttribute("aria-valuemin", steps[0]);
    svg.setAttribute("aria-valuemax", steps[steps.length - 1]);
    plot.append(svg);

    const choose = (at) => {
      if (!scale) return;
      chosen = Math.max(0, Math.min(steps.length - 1, at));
      const value = values[chosen], even = line[chosen];
      const said = value === null ? "no number" : worded(value);
      const more = even !== null && value !== null && weight > 0 ? " · smoothed " + worded(even) : "";
      const beside = heldAt.get(steps[chosen]) ?? null;
      const out = beside === null ? "" : " · held out " + worded(beside) + (steps[chosen] === best ? ", best" : "");
      readout.textContent = "step " + steps[chosen].toLocaleString("en") + " · " + said + more + out;
      svg.setAttribute("aria-valuenow", steps[chosen]);
      svg.setAttribute("aria-valuetext", "step " + steps[chosen] + ", " + said + out);
      const x = scale.x(steps[chosen]);
      cross.setAttribute("x1", x);
      cross.setAttribute("x2", x);
      cross.setAttribute("visibility", "visible");
      const shown = even !== null && scale.fits(even);
      dot.setAttribute("visibility", shown ? "visible" : "hidden");
      if (shown) { dot.setAttribute("cx", x); dot.setAttribute("cy", scale.y(even)); }
    };

    const leave = () => {
      chosen = -1;
      readout.textContent = "";
      for (const mark of [cross, dot]) mark?.setAttribute("visibility", "hidden");
    };

    const draw = () => {
      const width = plot.clientWidth;
      if (!width) return;
      const logarithmic = log.checked;
      const fits = (value) => value !== null && (!logarithmic || value > 0);
      const raw = values.map((value) => (fits(value) ? value : null));
      // Of a few points every one counts.
      weight = raw.length < 12 ? 0 : Number(smooth.value);
      line = smoothed(raw, weight);
      const known = [...raw, ...held.values].filter(fits);
      scale = null;
      if (!known.length) {
        svg.replaceChildren(element("text", { x: 0, y: HEIGHT / 2 }, logarithmic ? "no positive values" : "no numbers"));
        svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
        return;
      }
      const low = known.reduce((a, b) => Math.min(a, b)), high = known.reduce((a, b) => Math.max(a, b));
      const { x, y } = axes(svg, width, [first, last], [low, high], logarithmic);
      scale = { x, y, fits };
      svg.append(element("path", { class: "raw", d: path(steps, raw, scale) }));
      svg.append(element("path", { class: "line", d: path(steps, line, scale) }));
      const beside = held.values.map((value) => (fits(value) ? value : null));
      if (beside.length) svg.append(element("path", { class: "held", d: path(held.steps, beside, scale) }));
      beside.forEach((value, i) => {
        if (value === null) return;
        const at = { cx: x(held.steps[i]), cy: y(value) };
        if (beside.length < 40) svg.append(element("circle", { class: "held-dot", ...at, r: 2.2 }));
        if (held.steps[i] === best) svg.append(element("circle", { class: "best", ...at, r: 5.5 }));
      });
      if (raw.filter((value) => value !== null).length < 12)
        raw.forEach((value, i) => { if (value !== null) svg.append(element("circle", { class: "dot", cx: x(steps[i]), cy: y(value), r: 2 })); });
      cross = element("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
      dot = element("circle", { class: "dot", r: 3.5, visibility: "hidden" });
      svg.append(cross, dot);
      if (chosen >= 0) choose(chosen);
    };

    svg.addEventListener("pointermove", (event) => {
      if (!scale) return;
      const at = event.clientX - svg.getBoundingClientRect().left;
      choose(nearest(steps.map(scale.x), at));
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("focus", () => choose(chosen < 0 ? steps.length - 1 : chosen));
    svg.addEventListener("keydown", (event) => {
      const moved = { ArrowLeft: chosen - 1, ArrowDown: chosen - 1, ArrowRight: chosen + 1, ArrowUp: chosen + 1, PageDown: chosen - 10, PageUp: chosen + 10, Home: 0, End: steps.length - 1 }[event.key];
      if (moved === undefined) return;
      event.preventDefault();
      choose(moved);
    });
    new ResizeObserver(draw).observe(plot);
    return draw;
  };

  const draws = figures.map(chart);
  const redraw = () => {
    document.getElementById("smoothness").textContent = Number(smooth.value).toFixed(2);
    for (const draw of draws) draw();
  };
  smooth.addEventListener("input", redraw);
  log.addEventListener("change", redraw);
  document.getElementById("smooth").form.addEventListener("submit", (event) => event.preventDefault());
  redraw();
})();
