"use strict";

// Tables: a click on a heading, or Enter on it, sorts by that column; again, the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  for (const heading of headings) {
    heading.querySelector("button").addEventListener("click", () => {
      const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      sortRows(table.tBodies[0], heading.cellIndex, order === "ascending" ? 1 : -1);
    });
  }
}

function sortRows(body, column, sign) {
  const value = (row) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text === "" || text === "–" ? null : Number.isNaN(Number(text)) ? text : Number(text);
  };
  const compare = (one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null); // without a score: last
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };
  body.append(...[...body.rows].sort(compare));
}

// Images: one choice of layers for all, a slider for each.
const layers = document.getElementById("layers");

function showLayers() {
  for (const image of document.querySelectorAll(".stage img")) {
    image.classList.toggle("left", image.dataset.layer === layers.elements.left.value);
    image.classList.toggle("right", image.dataset.layer === layers.elements.right.value);
  }
}

layers.addEventListener("change", showLayers);
for (const slider of document.querySelectorAll(".stage input")) {
  slider.addEventListener("input", () => slider.parentElement.style.setProperty("--at", `${slider.value}%`));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const choice = layers.elements.right[Number(event.key) - 1];
  if (choice) {
    choice.checked = true;
    showLayers();
  }
});
showLayers(); // the browser may have kept other choices over a reload

// Light or dark: as the system says, until the button is pressed.
const scheme = document.getElementById("scheme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => {
  const chosen = document.documentElement.style.colorScheme;
  return chosen ? chosen === "dark" : system.matches;
};

function labelScheme() {
  scheme.textContent = isDark() ? "Light" : "Dark";
  scheme.setAttribute("aria-pressed", String(isDark()));
}

scheme.addEventListener("click", () => {
  document.documentElement.style.colorScheme = isDark() ? "light" : "dark";
  labelScheme();
});
system.addEventListener("change", labelScheme);
labelScheme();
