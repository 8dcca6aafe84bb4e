/** Rows, columns and coordinates of a map. */

/**
 * Make Leaflet's reference system of a map: a unit is a pixel, and rows are counted downward.
 *
 * A place in Leaflet is { lat, lng }; here lat is the row, and lng the column.
 *
 * @param {About} about
 * @returns {L.CRS}
 */
export function pixelGrid(about) {
  const scale = 1 / 2 ** about.maxZoom;
  return L.extend({}, L.CRS.Simple, {
    transformation: new L.Transformation(scale, 0, scale, 0),
    distance: (a, b) => Math.hypot(a.lat - b.lat, a.lng - b.lng) * about.meters,
  });
}

/**
 * Compute the coordinates of a place in the map's reference system.
 *
 * @param {About} about
 * @param {L.LatLng} at
 * @returns {[number, number] | null} Null if the map does not say where it lies.
 */
export function coordinates(about, at) {
  if (!about.place) return null;
  const [a, b, c, d, e, f] = about.place.transform;
  return [a * at.lng + b * at.lat + c, d * at.lng + e * at.lat + f];
}

/**
 * Write coordinates with as many decimals as a pixel is worth.
 *
 * @param {About} about
 * @param {number[]} values
 * @returns {string}
 */
export function written(about, values) {
  const [a, b] = about.place.transform;
  const decimals = Math.min(9, Math.max(0, Math.ceil(-Math.log10(Math.hypot(a, b))) + 1));
  return values.map((value) => value.toFixed(decimals)).join(", ");
}

/**
 * Show the position of the pointer below the map.
 *
 * @param {L.Map} map
 * @param {About} about
 */
export function readout(map, about) {
  const line = document.getElementById("readout");
  map.on("mousemove", ({ latlng }) => {
    const isInside =
      latlng.lat >= 0 && latlng.lat < about.height && latlng.lng >= 0 && latlng.lng < about.width;
    const parts = [`row ${Math.floor(latlng.lat)}, column ${Math.floor(latlng.lng)}`];
    const place = coordinates(about, latlng);
    if (place) parts.push(written(about, place));
    line.textContent = isInside ? parts.join(" · ") : "";
  });
  map.on("mouseout", () => {
    line.textContent = "";
  });
}
