/**
 * The classes with their colors and shares; each can be hidden.
 *
 * @typedef {object} Legend
 * @property {() => number[]} hidden Labels of the hidden classes.
 * @property {(listener: () => void) => void} onChange Calls the listener after each change.
 * @property {(isSwitchable: boolean) => void} setSwitchable Whether classes can be hidden now.
 */

/**
 * Fill the legend.
 *
 * @param {About} about
 * @returns {Legend}
 */
export function startLegend(about) {
  const fields = document.getElementById("legend");
  const largest = Math.max(...about.classes.map(({ share }) => share), 1e-9);
  fields.querySelector("ul").append(...about.classes.map((entry) => row(entry, largest)));
  const boxes = [...fields.querySelectorAll("input")];
  return {
    hidden: () => boxes.filter((box) => !box.checked).map((box) => Number(box.value)),
    onChange: (listener) => fields.addEventListener("change", listener),
    setSwitchable: (isSwitchable) =>
      boxes.forEach((box) => {
        box.disabled = !isSwitchable;
      }),
  };
}

/**
 * Make the row of a class: a box that shows and hides it, color, name and share.
 *
 * @param {{label: number, name: string, color: string, pixels: number, share: number}} entry
 * @param {number} largest Share of the largest class, which has the longest bar.
 * @returns {HTMLLIElement}
 */
function row({ label, name, color, pixels, share }, largest) {
  const item = document.createElement("li");
  const words = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.value = label;
  box.checked = true;
  words.append(box, swatch(color), span("name", name), span("share", percent(share)));
  words.title = `${pixels.toLocaleString("en")} pixels`;
  const bar = span("bar", "");
  bar.style.width = `${(100 * share) / largest}%`;
  item.append(words, bar);
  return item;
}

/**
 * Make a square of a color.
 *
 * @param {string} color
 * @returns {HTMLSpanElement}
 */
export function swatch(color) {
  const square = span("swatch", "");
  square.style.background = color;
  return square;
}

/**
 * Make an element of a text.
 *
 * @param {string} name Class of the element.
 * @param {string} text
 * @returns {HTMLSpanElement}
 */
export function span(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

/**
 * Write a share as percent.
 *
 * @param {number} share
 * @returns {string}
 */
export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
