// Curves: a line a logged metric, with hover and arrow keys, exponential smoothing and a log scale.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent).curves;
  const figures = [...document.querySelectorAll(".chart")];
  if (!figures.length) return;
  const smooth = document.getElementById("smooth"), log = document.getElementById("log");
  const HEIGHT = 170, LEFT = 50, RIGHT = 8, TOP = 8, BOTTOM = 20;

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const worded = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
    return text.replace("-", "−").replace("e-", "e−").replace("e+", "e");
  };

  // TensorBoard's smoothing: an exponential moving average without the pull to zero at its start.
  const smoothed = (values, weight) => {
    let sum = 0, total = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = sum * weight + value * (1 - weight);
      total = total * weight + (1 - weight);
      return sum / total;
    });
  };

  const roundUnit = (rough) => {
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((step) => step * power).find((unit) => unit >= rough * 0.999);
  };

  const linearTicks = (low, high, count, whole) => {
    let unit = roundUnit((high - low) / count || 1);
    if (whole) unit = Math.max(1, Math.round(unit));
    const ticks = [];
    for (let at = Math.ceil(low / unit - 1e-9); at * unit <= high + unit * 1e-9; at++) ticks.push(at * unit);
    return ticks;
  };

  const logTicks = (low, high) => {
    const ticks = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const step of [1, 2, 5]) ticks.push(step * 10 ** e);
    const inside = ticks.filter((tick) => tick >= low && tick <= high);
    return inside.filter((_, index) => index % Math.ceil(inside.length / 6 || 1) === 0);
  };

  const chart = (figure) => {
    const [stage, kind, index] = figure.dataset.at.split(" ");
    const { label, steps, values, summary } = data[stage][kind][index];
    const plot = figure.querySelector(".plot"), readout = figure.querySelector("output");
    let chosen = -1, cross = null, dot = null, scale = null, line = [], weight = 0;

    const svg = element("svg", { tabindex: 0, role: "slider", "aria-orientation": "horizontal" });
    svg.setAttribute("aria-label", label + " by step: " + summary);
    svg.setAttribute("aria-valuemin", steps[0]);
    svg.setAttribute("aria-valuemax", steps[steps.length - 1]);
    plot.append(svg);

    const path = (points, x, y) => {
      let text = "", pen = "M";
      points.forEach((value, i) => {
        if (value === null) { pen = "M"; return; }
        text += pen + x(steps[i]).toFixed(1) + " " + y(value).toFixed(1);
        pen = "L";
      });
      return text;
    };

    const choose = (at) => {
      if (!scale) return;
      chosen = Math.max(0, Math.min(steps.length - 1, at));
      const value = values[chosen], even = line[chosen];
      const said = value === null ? "no number" : worded(value);
      const more = even !== null && value !== null && weight > 0 ? " · smoothed " + worded(even) : "";
      readout.textContent = "step " + steps[chosen].toLocaleString("en") + " · " + said + more;
      svg.setAttribute("aria-valuenow", steps[chosen]);
      svg.setAttribute("aria-valuetext", "step " + steps[chosen] + ", " + said);
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
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      const known = raw.filter((value) => value !== null);
      scale = null;
      if (!known.length) {
        svg.append(element("text", { x: 0, y: HEIGHT / 2 }, logarithmic ? "no positive values" : "no numbers"));
        return;
      }
      const on = logarithmic ? Math.log10 : (value) => value;
      let low = known.reduce((a, b) => Math.min(a, b)), high = known.reduce((a, b) => Math.max(a, b));
      if (low === high) {
        if (logarithmic) { low /= 2; high *= 2; } else { const room = Math.abs(low) * 0.1 || 1; low -= room; high += room; }
      } else if (!logarithmic) { const room = (high - low) * 0.05; low -= room; high += room; }
      const first = steps[0], last = steps[steps.length - 1] === first ? first + 1 : steps[steps.length - 1];
      const x = (step) => LEFT + ((step - first) / (last - first)) * (width - LEFT - RIGHT);
      const y = (value) => TOP + (1 - (on(value) - on(low)) / (on(high) - on(low))) * (HEIGHT - TOP - BOTTOM);
      scale = { x, y, fits };
      for (const tick of logarithmic ? logTicks(low, high) : linearTicks(low, high, 4, false)) {
        svg.append(element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }));
        svg.append(element("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, worded(Number(tick.toPrecision(8)))));
      }
      for (const tick of linearTicks(first, last, width < 260 ? 3 : 5, true))
        svg.append(element("text", { x: x(tick), y: HEIGHT - 4, "text-anchor": x(tick) > width - 20 ? "end" : "middle" }, tick.toLocaleString("en")));
      svg.append(element("path", { class: "raw", d: path(raw, x, y) }));
      svg.append(element("path", { class: "line", d: path(line, x, y) }));
      if (known.length < 12)
        raw.forEach((value, i) => { if (value !== null) svg.append(element("circle", { class: "dot", cx: x(steps[i]), cy: y(value), r: 2 })); });
      cross = element("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
      dot = element("circle", { class: "dot", r: 3.5, visibility: "hidden" });
      svg.append(cross, dot);
      if (chosen >= 0) choose(chosen);
    };

    svg.addEventListener("pointermove", (event) => {
      if (!scale) return;
      const at = event.clientX - svg.getBoundingClientRect().left;
      let best = 0;
      steps.forEach((step, i) => { if (Math.abs(scale.x(step) - at) < Math.abs(scale.x(steps[best]) - at)) best = i; });
      choose(best);
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
