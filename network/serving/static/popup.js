/** What lies at a pixel: a click, or Enter, opens the answer. */

import { written } from "./grid.js";
import { percent, span, swatch } from "./legend.js";
import { ask } from "./requests.js";

/**
 * Answer clicks on the map, and Enter for its middle.
 *
 * @param {L.Map} map
 * @param {About} about
 */
export function tellAt(map, about) {
  const container = map.getContainer();
  const open = async (at) => {
    const row = Math.floor(at.lat);
    const column = Math.floor(at.lng);
    if (row < 0 || column < 0 || row >= about.height || column >= about.width) return;
    const found = await ask(`at?row=${row}&column=${column}`);
    if (!found) return;
    // The middle of the pixel.
    L.popup({ minWidth: 200, maxWidth: 260 })
      .setLatLng([row + 0.5, column + 0.5])
      .setContent(content(about, found))
      .openOn(map);
  };
  map.on("click", ({ latlng }) => open(latlng));
  container.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === container) open(map.getCenter());
  });
  showMiddle(map);
}

/**
 * Mark the middle of the map while the map is used by keyboard and no answer is open.
 *
 * @param {L.Map} map
 */
function showMiddle(map) {
  const cross = document.getElementById("cross");
  const container = map.getContainer();
  let isKeyboard = false;
  let isOpen = false;
  const show = () => {
    cross.hidden = !isKeyboard || isOpen || document.activeElement !== container;
  };
  const on = (target, name, change) =>
    target.addEventListener(name, () => {
      change();
      show();
    });
  on(document, "keydown", () => {
    isKeyboard = true;
  });
  on(document, "pointerdown", () => {
    isKeyboard = false;
  });
  on(document, "focusin", () => {});
  on(document, "focusout", () => {});
  map.on("popupopen popupclose", ({ type }) => {
    isOpen = type === "popupopen";
    show();
  });
}

/**
 * Write the answer about a pixel.
 *
 * @param {About} about
 * @param {object} found What the server says, see MapViewer.at in viewer.py.
 * @returns {HTMLElement}
 */
function content(about, found) {
  const box = document.createElement("div");
  box.className = "answer";
  const entry = about.classes.find(({ label }) => label === found.label);
  const title = document.createElement("h2");
  if (entry) title.append(swatch(entry.color), entry.name);
  else title.append("No data");
  box.append(title);
  const { probabilities, confidence, entropy, disagreement } = found.shares;
  if (probabilities) box.append(bars(about.classes, probabilities));
  const facts = [
    // The confidence is the largest of the probabilities.
    ["Probability", probabilities ? undefined : confidence && percent(confidence)],
    ["Entropy", entropy?.toFixed(2)],
    ["Disagreement", disagreement?.toFixed(2)],
    ["Row, column", `${found.row}, ${found.column}`],
    ["Coordinates", found.place && written(about, [found.place.x, found.place.y])],
    ["Lat, long", degrees(about, found.place)],
    ["Image", found.image?.map((value) => Number(value.toPrecision(6))).join(", ")],
  ];
  box.append(list(facts.filter(([, value]) => value)));
  return box;
}

/**
 * Write latitude and longitude, if they are not the coordinates themselves.
 *
 * @param {About} about
 * @param {{latitude?: number, longitude?: number} | null} place
 * @returns {string | undefined}
 */
function degrees(about, place) {
  if (!place || place.latitude === undefined || about.place.isGeographic) return undefined;
  return `${place.latitude.toFixed(6)}°, ${place.longitude.toFixed(6)}°`;
}

/**
 * Draw the probabilities of all classes as bars, the largest first.
 *
 * @param {object[]} classes
 * @param {number[]} probabilities In the order of the classes.
 * @returns {HTMLTableElement}
 */
function bars(classes, probabilities) {
  const table = document.createElement("table");
  const order = classes.map((entry, number) => [entry, probabilities[number]]);
  order.sort(([, one], [, other]) => other - one);
  for (const [{ name, color }, probability] of order) {
    const row = table.insertRow();
    row.insertCell().textContent = name;
    const bar = span("bar", "");
    bar.style.width = `${100 * probability}%`;
    bar.style.background = color;
    row.insertCell().append(bar);
    row.insertCell().textContent = percent(probability);
  }
  return table;
}

/**
 * Make a list of names and values.
 *
 * @param {[string, string][]} facts
 * @returns {HTMLDListElement}
 */
function list(facts) {
  const element = document.createElement("dl");
  for (const [name, value] of facts) {
    const pair = document.createElement("div");
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    pair.append(term, text);
    element.append(pair);
  }
  return element;
}
