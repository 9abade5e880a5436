// What charts share: SVG elements, numbers in words, smoothing, scales with their ticks.
const plotting = (() => {
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

  // Scales of a chart `width` wide over steps and values, and their grid in `svg`.
  const axes = (svg, width, [first, last], [low, high], logarithmic) => {
    const on = logarithmic ? Math.log10 : (value) => value;
    if (low === high) {
      if (logarithmic) { low /= 2; high *= 2; } else { const room = Math.abs(low) * 0.1 || 1; low -= room; high += room; }
    } else if (!logarithmic) { const room = (high - low) * 0.05; low -= room; high += room; }
    if (last === first) last = first + 1;
    const x = (step) => LEFT + ((step - first) / (last - first)) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (on(value) - on(low)) / (on(high) - on(low))) * (HEIGHT - TOP - BOTTOM);
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    for (const tick of logarithmic ? logTicks(low, high) : linearTicks(low, high, 4, false)) {
      svg.append(element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }));
      svg.append(element("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, worded(Number(tick.toPrecision(8)))));
    }
    for (const tick of linearTicks(first, last, width < 260 ? 3 : 5, true))
      svg.append(element("text", { x: x(tick), y: HEIGHT - 4, "text-anchor": x(tick) > width - 20 ? "end" : "middle" }, tick.toLocaleString("en")));
    return { x, y };
  };

  const path = (steps, points, { x, y }) => {
    let text = "", pen = "M";
    points.forEach((value, i) => {
      if (value === null) { pen = "M"; return; }
      text += pen + x(steps[i]).toFixed(1) + " " + y(value).toFixed(1);
      pen = "L";
    });
    return text;
  };

  const nearest = (values, wanted) => {
    let best = 0;
    values.forEach((value, i) => { if (value !== null && (values[best] === null || Math.abs(value - wanted) < Math.abs(values[best] - wanted))) best = i; });
    return best;
  };

  return { HEIGHT, TOP, BOTTOM, element, worded, smoothed, axes, path, nearest };
})();
