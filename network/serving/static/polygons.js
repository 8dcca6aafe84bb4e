/** Outlines of the polygons in the part of the map that is seen. */

import { ask } from "./requests.js";

const AROUND = 0.25; // share of the view that is loaded beyond each of its borders
const PAUSE = 150; // milliseconds without a movement, after which polygons are loaded
const OTHER = "#888888"; // polygons of no class of the map

/**
 * Draw the polygons of the classes that are not hidden, and load them again when the map has moved.
 *
 * @param {L.Map} map
 * @param {About} about
 * @param {import("./legend.js").Legend} legend
 */
export function startPolygons(map, about, legend) {
  if (!about.polygons) return;
  const row = document.getElementById("outlines");
  const box = row.querySelector("input");
  const note = row.querySelector("small");
  map.createPane("outlines").style.pointerEvents = "none";
  const colors = new Map(about.classes.map(({ label, color }) => [label, color]));
  const renderer = L.canvas({ pane: "outlines" });
  const drawn = L.layerGroup().addTo(map);
  let last = 0;
  let timer;

  const draw = (found) => {
    const hidden = legend.hidden();
    const isFar = map.getZoom() < about.maxZoom - 1;
    // A dark line below that in the color of the class is seen on any ground.
    const lines = isFar
      ? [[1, null]]
      : [
          [4, "#000000"],
          [2, null],
        ];
    for (const [weight, color] of lines) {
      L.geoJSON(found, {
        renderer,
        pane: "outlines",
        interactive: false,
        filter: ({ properties }) => !hidden.includes(properties.label),
        style: ({ properties: { label } }) => ({
          weight,
          color: color ?? colors.get(label) ?? OTHER,
          opacity: color ? 0.55 : 1,
          fill: false,
        }),
      }).addTo(drawn);
    }
  };
  const load = async () => {
    const number = ++last; // an answer that comes after the next question is too old
    const found = box.checked ? await ask(`polygons?${partOf(map, about)}`) : null;
    if (number !== last || found === undefined) return;
    drawn.clearLayers();
    if (found) draw(found);
    note.textContent = found ? `${found.features.length} in view` : "";
    if (box.checked && !found) note.textContent = "too many in view: zoom in";
  };
  box.checked = about.polygons.wanted;
  row.title = about.polygons.name;
  row.hidden = false;
  box.addEventListener("change", load);
  legend.onChange(load);
  map.on("moveend", () => {
    clearTimeout(timer);
    timer = setTimeout(load, PAUSE);
  });
  load();
}

/**
 * Describe the part of the map to load as the query of a request.
 *
 * @param {L.Map} map
 * @param {About} about
 * @returns {URLSearchParams}
 */
function partOf(map, about) {
  const view = map.getBounds().pad(AROUND);
  return new URLSearchParams({
    left: Math.max(0, view.getWest()),
    top: Math.max(0, view.getSouth()), // rows are counted downward
    right: Math.min(about.width, view.getEast()),
    bottom: Math.min(about.height, view.getNorth()),
    pixel: 2 ** (about.maxZoom - map.getZoom()),
  });
}
