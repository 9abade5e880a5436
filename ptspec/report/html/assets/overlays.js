// Overlays: one metric of several stages of a method in one chart, with the line under the pointer named.
(() => {
  const { HEIGHT, element, worded, smoothed, axes, path, nearest } = plotting;
  const data = JSON.parse(document.getElementById("data").textContent).curves;
  const smooth = document.getElementById("smooth"), log = document.getElementById("log");

  const overlay = (figure) => {
    const lines = JSON.parse(figure.dataset.over).map(([stage, index]) => ({ stage: data[stage].stage, ...data[stage].headline[index] }));
    const plot = figure.querySelector(".plot"), readout = figure.querySelector("output");
    const svg = element("svg", { tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": lines.length - 1, "aria-valuenow": 0 });
    svg.setAttribute("aria-label", lines[0].label + " of each stage, arrow keys go from stage to stage");
    plot.append(svg);
    let scale = null, drawn = [], chosen = -1;

    const choose = (at, step) => {
      if (!scale) return;
      chosen = Math.max(0, Math.min(lines.length - 1, at));
      const line = lines[chosen], i = step ?? line.steps.length - 1;
      drawn.forEach((mark, index) => mark.classList.toggle("chosen", index === chosen));
      svg.append(drawn[chosen]);
      const said = line.values[i] === null ? "no number" : worded(line.values[i]);
      readout.textContent = line.stage + " · step " + line.steps[i].toLocaleString("en") + " · " + said;
      svg.setAttribute("aria-valuenow", chosen);
      svg.setAttribute("aria-valuetext", readout.textContent);
    };

    const leave = () => {
      chosen = -1;
      readout.textContent = "";
      for (const mark of drawn) mark.classList.remove("chosen");
    };

    const draw = () => {
      const width = plot.clientWidth;
      if (!width) return;
      const logarithmic = log.checked;
      for (const line of lines) {
        const raw = line.values.map((value) => (value !== null && (!logarithmic || value > 0) ? value : null));
        line.shown = smoothed(raw, raw.length < 12 ? 0 : Number(smooth.value));
      }
      const known = lines.flatMap((line) => line.shown).filter((value) => value !== null);
      scale = null;
      if (!known.length) {
        svg.replaceChildren(element("text", { x: 0, y: HEIGHT / 2 }, logarithmic ? "no positive values" : "no numbers"));
        return;
      }
      const span = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
      scale = axes(svg, width, span(lines.flatMap((line) => line.steps)), span(known), logarithmic);
      drawn = lines.map((line, index) => element("path", { class: "line " + (lines.length > 30 ? "many crowd" : lines.length > 8 ? "many" : "c" + index), d: path(line.steps, line.shown, scale) }));
      svg.append(...drawn);
      if (chosen >= 0) choose(chosen);
    };

    svg.addEventListener("pointermove", (event) => {
      if (!scale) return;
      const box = svg.getBoundingClientRect(), at = event.clientX - box.left, up = event.clientY - box.top;
      const places = lines.map((line) => nearest(line.steps.map(scale.x), at));
      const heights = lines.map((line, index) => (line.shown[places[index]] === null ? null : scale.y(line.shown[places[index]])));
      const best = nearest(heights, up);
      choose(best, places[best]);
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("focus", () => choose(Math.max(0, chosen)));
    svg.addEventListener("keydown", (event) => {
      const moved = { ArrowUp: chosen - 1, ArrowLeft: chosen - 1, ArrowDown: chosen + 1, ArrowRight: chosen + 1, Home: 0, End: lines.length - 1 }[event.key];
      if (moved === undefined) return;
      event.preventDefault();
      choose(moved);
    });
    new ResizeObserver(draw).observe(plot);
    smooth.addEventListener("input", draw);
    log.addEventListener("change", draw);
    draw();
  };

  for (const figure of document.querySelectorAll(".overlay")) overlay(figure);
})();
