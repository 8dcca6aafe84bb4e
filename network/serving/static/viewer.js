/**
 * The page on a map: it puts the parts together. Leaflet (the global L) pans and zooms.
 *
 * @typedef {object} About What the server says about the map, see MapViewer.about in viewer.py.
 */

import { startDivider } from "./divider.js";
import { pixelGrid, readout } from "./grid.js";
import { startLayers } from "./layers.js";
import { startLegend } from "./legend.js";
import { startPolygons } from "./polygons.js";
import { tellAt } from "./popup.js";
import { ask, watchTiles } from "./requests.js";

const BEYOND = 5; // zooms beyond that of the file, at which a pixel becomes a square

const about = await ask("about");
if (about) show(about);

/**
 * Show the map.
 *
 * @param {About} about
 */
function show(about) {
  document.title = about.name;
  document.getElementById("name").textContent = about.name;
  document.getElementById("facts").append(
    ...facts(about).map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }),
  );

  const map = L.map("map", {
    crs: pixelGrid(about),
    minZoom: 0,
    maxZoom: about.maxZoom + BEYOND,
    attributionControl: false,
    zoomAnimation: !matchMedia("(prefers-reduced-motion: reduce)").matches,
  });
  map.setView([about.height / 2, about.width / 2], fittingZoom(map.getSize(), about));
  if (about.meters) L.control.scale({ imperial: false, maxWidth: 140 }).addTo(map);

  const legend = startLegend(about);
  const layers = startLayers(map, about, legend);
  watchTiles(layers.all);
  startPolygons(map, about, legend);
  if (about.image) startDivider(map, [layers.pane]);
  tellAt(map, about);
  readout(map, about);
}

/**
 * Find the zoom at which the window shows the whole map, or all but a narrow border.
 *
 * Only whole zooms are used, since then a pixel of a tile is a pixel of the screen.
 *
 * @param {L.Point} size Size of the window.
 * @param {About} about
 * @returns {number}
 */
function fittingZoom(size, about) {
  const fit = about.maxZoom + Math.log2(Math.min(size.x / about.width, size.y / about.height));
  return Math.min(about.maxZoom + BEYOND, Math.max(0, Math.floor(fit + 0.2)));
}

/**
 * Say how large the map is, where it lies, and which image it belongs to.
 *
 * @param {About} about
 * @returns {string[]}
 */
function facts(about) {
  const size = about.meters ? ` of ${Number(about.meters.toPrecision(3))} m` : "";
  const lines = [`${about.width} × ${about.height} pixels${size}`];
  if (about.place) lines.push(about.place.name);
  if (about.image) lines.push(`Image: ${about.image}`);
  return lines;
}
