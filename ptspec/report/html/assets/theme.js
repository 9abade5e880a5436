"use strict";
// The theme: as the system has it, or as the reader chose; and a page that prints whole.
(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const choices = ["auto", "light", "dark"];
  let chosen = "auto";
  root.classList.add("js");
  try { chosen = localStorage.getItem("ptspec-theme") || chosen; } catch { /* storage may be denied */ }
  const apply = () => {
    root.dataset.theme = chosen;
    button.textContent = "Theme: " + chosen;
  };
  button.addEventListener("click", () => {
    chosen = choices[(choices.indexOf(chosen) + 1) % choices.length];
    try { localStorage.setItem("ptspec-theme", chosen); } catch { /* the choice lasts as long as the page */ }
    apply();
  });
  if (!choices.includes(chosen)) chosen = "auto";
  apply();
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
})();
