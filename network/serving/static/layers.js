/** The image, and above it the prediction in the layer that is chosen. */

/**
 * Add the layers of tiles, and let the controls choose between them.
 *
 * @param {L.Map} map
 * @param {About} about
 * @param {import("./legend.js").Legend} legend
 * @returns {{pane: HTMLElement, all: L.TileLayer[]}} The pane of the prediction, and all layers.
 */
export function startLayers(map, about, legend) {
  const pane = map.createPane("prediction");
  const image = about.image && tiles(map, about, "image", "tilePane").addTo(map);
  const prediction = tiles(map, about, "classes", "prediction").addTo(map);
  const fields = document.getElementById("layers");
  const select = fields.querySelector("select");
  const opacity = document.getElementById("opacity");
  const known = [{ name: "classes", title: "Classes" }, ...about.layers];

  for (const [number, layer] of known.entries()) {
    fields.querySelector(".choices").append(choice(layer, number === 0));
  }
  fields.hidden = known.length === 1;
  select.append(...about.classes.map((entry, number) => new Option(entry.name, number)));

  const show = () => {
    const layer = known.find(({ name }) => name === fields.querySelector(":checked").value);
    const isPerClass = Boolean(layer.perClass);
    document.querySelector("#divider .right").textContent = layer.title;
    document.getElementById("of-class").hidden = !isPerClass;
    showScale(layer);
    legend.setSwitchable(!layer.colors);
    prediction.setUrl(
      address(about, layer.name, {
        hidden: layer.colors ? "" : legend.hidden().join(),
        number: isPerClass ? select.value : "",
      }),
    );
  };
  const fade = () => {
    pane.style.opacity = opacity.value / 100;
    document.querySelector("output[for=opacity]").textContent = `${opacity.value} %`;
  };
  opacity.value = image ? 60 : 100;
  fields.addEventListener("change", show);
  legend.onChange(show);
  opacity.addEventListener("input", fade);
  fade();

  // Beyond its last zoom a photo shows its pixels as squares, as labels do at each zoom.
  const sharpen = () => {
    map.getPane("tilePane").classList.toggle("pixels", map.getZoom() > about.maxZoom);
  };
  map.on("zoomend", sharpen);
  sharpen();
  return { pane, all: image ? [image, prediction] : [prediction] };
}

/**
 * Make a layer of tiles that has no tiles beyond the borders of the map.
 *
 * @param {L.Map} map
 * @param {About} about
 * @param {string} name
 * @param {string} pane
 * @returns {L.TileLayer}
 */
function tiles(map, about, name, pane) {
  return L.tileLayer(address(about, name), {
    pane,
    tileSize: about.tile,
    bounds: [
      [0, 0],
      [about.height, about.width],
    ],
    minZoom: map.getMinZoom(),
    maxZoom: map.getMaxZoom(),
    minNativeZoom: 0,
    maxNativeZoom: about.maxZoom,
    keepBuffer: 4,
  });
}

/**
 * Write the address of a layer's tiles; settings that are empty are left out.
 *
 * @param {About} about
 * @param {string} name
 * @param {Object<string, string>} settings
 * @returns {string}
 */
function address(about, name, settings = {}) {
  const given = Object.entries(settings).filter(([, value]) => value !== "");
  const query = new URLSearchParams([["version", about.version], ...given]);
  return `tiles/${name}/{z}/{x}/{y}?${query}`;
}

/**
 * Make the radio button of a layer.
 *
 * @param {{name: string, title: string, description?: string}} layer
 * @param {boolean} isChosen
 * @returns {HTMLLabelElement}
 */
function choice({ name, title, description }, isChosen) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "radio";
  input.name = "layer";
  input.value = name;
  input.checked = isChosen;
  label.append(input, title);
  if (description) label.title = description;
  return label;
}

/**
 * Show the colors from 0 to 1 of a layer of shares.
 *
 * @param {{colors?: string[], description?: string}} layer
 */
function showScale({ colors, description }) {
  document.getElementById("scale").hidden = !colors;
  if (!colors) return;
  const bar = document.querySelector("#scale .bar");
  bar.style.background = `linear-gradient(to right, ${colors.join()})`;
  document.getElementById("scale-name").textContent = description;
}
