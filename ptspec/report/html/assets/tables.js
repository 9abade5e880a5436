// Tables whose rows are sorted by a click on a column's head: numbers by value, names by letters.
(() => {
  const key = (row, at) => {
    const cell = row.cells[at], number = cell.querySelector("data")?.value ?? cell.textContent.trim().replace(/^[<=] /, "");
    return number === "" || number === "–" || Number.isNaN(Number(number)) ? number : Number(number);
  };
  const compare = (a, b) => {
    const numbers = [a, b].filter((value) => typeof value === "number").length;
    if (numbers === 2) return a - b;
    return numbers === 1 ? (typeof a === "number" ? -1 : 1) : String(a).localeCompare(String(b));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // A column of numbers begins with the largest; a third click gives the order of the recipe back.
        const numeric = rows.some((row) => typeof key(row, at) === "number");
        const turns = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
        const turn = turns[(turns.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", turn);
        const sign = turn === "descending" ? -1 : 1;
        const missing = (row) => ["", "–"].includes(key(row, at)) || key(row, at) === "– not measured";
        const sorted = turn === "none" ? rows : [...rows].sort((a, b) =>
          missing(a) - missing(b) || sign * compare(key(a, at), key(b, at)));
        body.append(...sorted);
      });
    });
  }
})();
