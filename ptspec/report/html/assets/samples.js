// Answers: search, filter by result and slice, order by the biggest change; a few at first, then twenty more.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent).samples;
  if (!data) return;
  const FIRST = 5, PAGE = 20;
  const list = document.getElementById("samples"), more = document.getElementById("more");
  const control = (id) => document.getElementById(id);
  const value = (id) => control(id)?.value ?? "";
  const samples = [...list.children].map((article, index) => ({ article, index, text: article.textContent.toLowerCase() }));
  let room = FIRST;

  const last = data.policies.length - 1;
  const from = () => Number(value("from") || last), to = () => Number(value("to") || last);

  const differs = (index) => data.texts[index][from()] !== data.texts[index][to()];

  const result = ({ index }) => {
    const before = data.correct[index][from()], after = data.correct[index][to()];
    switch (value("result")) {
      case "differ": return differs(index);
      case "right": return after === true;
      case "wrong": return after === false;
      case "gained": return before === false && after === true;
      case "lost": return before === true && after === false;
      default: return true;
    }
  };

  const change = (index) => {
    if (value("order") === "differ") return Number(differs(index));
    const scores = data.scores[Number(value("order"))][index];
    const before = scores[from()], after = scores[to()];
    return before === null || after === null ? -1 : Math.abs(after - before);
  };

  const show = () => {
    const wanted = value("find").trim().toLowerCase(), slice = value("slice");
    const fits = (sample) => sample.text.includes(wanted) && result(sample) && (!slice || data.slices[sample.index].includes(slice));
    const found = samples.filter(fits);
    if (value("order") !== "") {
      const by = new Map(found.map((sample) => [sample, change(sample.index)]));
      found.sort((a, b) => by.get(b) - by.get(a) || a.index - b.index);
    }
    const shown = found.slice(0, room);
    list.replaceChildren(...shown.map((sample) => sample.article));
    if (control("everyone"))
      for (const { article } of shown)
        [...article.querySelectorAll(".reply")].forEach((reply, at) => { reply.hidden = !control("everyone").checked && at !== from() && at !== to(); });
    more.hidden = found.length <= room;
    const differing = found.filter((sample) => differs(sample.index)).length;
    const told = last ? ` · ${data.policies[from()]} and ${data.policies[to()]} answer ${differing.toLocaleString("en")} of them differently` : "";
    control("shown").textContent = found.length ? `${shown.length.toLocaleString("en")} of ${found.length.toLocaleString("en")} shown${told}` : "No prompt fits.";
  };

  const again = () => { room = FIRST; show(); };
  control("filters").addEventListener("input", again);
  control("filters").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const next = room;
    room += PAGE;
    show();
    const first = list.children[next];
    if (first) { first.tabIndex = -1; first.focus({ preventScroll: true }); }
  });
  show();
})();
