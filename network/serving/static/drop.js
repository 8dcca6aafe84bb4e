/**
 * The page on which an image is dropped: it sends the image to the service and shows the mask.
 *
 * @typedef {object} Classes What the service says about its network, see /classes.
 */

import { startLegend } from "./legend.js";
import { ask, request, tell } from "./requests.js";

const NO_LABEL = -1;

const body = document.body;
const canvas = document.getElementById("mask");
const field = document.getElementById("file");
const legend = document.getElementById("legend");
const opacity = document.getElementById("opacity");
const work = document.getElementById("work");

const [about, health] = await Promise.all([ask("classes"), ask("health")]);
/** What is shown: the file, its labels, and the request that is under way. */
const shown = { file: null, labels: null, width: 0, height: 0, stop: new AbortController() };

if (about && health) start();

/** Let the page react to files and controls. */
function start() {
  const { max_megabytes: megabytes, max_megapixels: megapixels } = health.limits;
  document.getElementById("limits").textContent =
    `at most ${megabytes} MB and ${megapixels} million pixels`;
  fillLegend(about.classes.map((entry) => ({ ...entry, pixels: 0, share: 0 })));
  field.addEventListener("change", () => {
    if (field.files.length) predict(field.files[0]);
    field.value = ""; // so the same file can be chosen again
  });
  listenForDrops();
  opacity.addEventListener("input", fade);
  fade();
  document.getElementById("downloads").addEventListener("click", ({ target }) => {
    if (target.dataset.type) download(target);
  });
}

/** Take files that are dropped or pasted anywhere on the page. */
function listenForDrops() {
  body.addEventListener("dragover", (event) => {
    event.preventDefault();
    body.classList.add("is-over");
  });
  body.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) body.classList.remove("is-over");
  });
  body.addEventListener("drop", (event) => {
    event.preventDefault();
    body.classList.remove("is-over");
    if (event.dataTransfer.files.length) predict(event.dataTransfer.files[0]);
  });
  body.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) predict(event.clipboardData.files[0]);
  });
}

/**
 * Send an image and show its mask. An image that is still worked on is given up.
 *
 * @param {File} file
 */
async function predict(file) {
  shown.stop.abort();
  const stop = new AbortController();
  Object.assign(shown, { file, labels: null, stop });
  tell("");
  showImage(file);
  const begin = performance.now();
  busy(`Predicting ${file.name}`);
  const answer = await send(file, { type: "image/png", signal: stop.signal });
  const mask = answer && (await answer.blob());
  if (stop.signal.aborted) return;
  busy("");
  if (!mask) return;
  const seconds = (performance.now() - begin) / 1000;
  await readMask(mask);
  if (stop.signal.aborted) return;
  showResult(Number(answer.headers.get("Pixel-Area")), seconds);
}

/**
 * Post an image.
 *
 * @param {File} file
 * @param {{type: string, query?: string, signal?: AbortSignal}} wish Type of the answer.
 * @returns {Promise<Response | undefined>}
 */
function send(file, { type, query = "", signal }) {
  const headers = { Accept: type, "Content-Type": "application/octet-stream" };
  return request(`predict${query}`, { method: "POST", body: file, headers, signal });
}

/**
 * Show the image below its mask. Browsers cannot show TIFF files, so of these there is no image.
 *
 * @param {File} file
 */
function showImage(file) {
  const image = document.getElementById("image");
  URL.revokeObjectURL(image.src);
  image.hidden = false;
  image.onerror = () => {
    image.hidden = true;
  };
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  canvas.width = canvas.height = 0;
  document.getElementById("stage").hidden = false;
  document.getElementById("downloads").hidden = true;
  document.getElementById("name").textContent = file.name;
  document.getElementById("facts").replaceChildren();
  body.classList.add("has-image");
}

/**
 * Read the labels of a mask; pixels without data are transparent in it.
 *
 * @param {Blob} mask
 */
async function readMask(mask) {
  // Without a conversion of colors, gray values are the labels.
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const picture = await createImageBitmap(mask, options);
  const { width, height } = picture;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const labels = new Int16Array(width * height);
  for (let at = 0; at < labels.length; at += 1) {
    labels[at] = data[4 * at + 3] === 255 ? data[4 * at] : NO_LABEL;
  }
  Object.assign(shown, { labels, width, height });
}

/**
 * Show mask, legend and facts of the image.
 *
 * @param {number} pixelArea Square meters of a pixel on the ground; 0 if unknown.
 * @param {number} seconds Time until the mask was there.
 */
function showResult(pixelArea, seconds) {
  const counts = about.classes.map(() => 0);
  for (const label of shown.labels) if (label !== NO_LABEL) counts[label] += 1;
  const total = counts.reduce((sum, count) => sum + count, 0);
  fillLegend(
    about.classes.map((entry) => ({
      ...entry,
      pixels: counts[entry.label],
      share: counts[entry.label] / Math.max(1, total),
      area: pixelArea ? area(counts[entry.label] * pixelArea) : "",
    })),
  );
  draw(new Set());
  const facts = [`${shown.width} × ${shown.height} pixels, ${seconds.toFixed(1)} s`];
  if (pixelArea) facts.push(`${Number(Math.sqrt(pixelArea).toPrecision(3))} m a pixel`);
  if (document.getElementById("image").hidden) {
    facts.push("The browser cannot show this image, so there is only its mask.");
  }
  document.getElementById("facts").replaceChildren(...facts.map(item));
  document.getElementById("downloads").hidden = false;
}

/**
 * Fill the legend with the classes of this image.
 *
 * @param {object[]} classes
 */
function fillLegend(classes) {
  legend.querySelector("ul").replaceChildren();
  const filled = startLegend({ classes });
  filled.onChange(() => draw(new Set(filled.hidden())));
  legend.querySelectorAll("li").forEach((row, number) => {
    const { area: size } = classes[number];
    const share = row.querySelector(".share");
    if (!shown.labels) share.textContent = "";
    else if (size) share.textContent += ` · ${size}`;
  });
}

/**
 * Draw the labels in the colors of their classes.
 *
 * @param {Set<number>} hidden Labels that are not drawn.
 */
function draw(hidden) {
  const { labels, width, height } = shown;
  if (!labels) return;
  const colors = about.classes.map(({ color }) => Number.parseInt(color.slice(1), 16));
  const picture = new ImageData(width, height);
  for (let at = 0; at < labels.length; at += 1) {
    const label = labels[at];
    if (label === NO_LABEL || hidden.has(label)) continue;
    const color = colors[label];
    picture.data.set([color >> 16, (color >> 8) & 255, color & 255, 255], 4 * at);
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** Show the mask as strongly as the slider says. */
function fade() {
  canvas.style.opacity = opacity.value / 100;
  document.querySelector("output[for=opacity]").textContent = `${opacity.value} %`;
}

/**
 * Ask for another answer to the same image, and let the browser save it.
 *
 * @param {HTMLButtonElement} button
 */
async function download(button) {
  const { type, query, ending } = button.dataset;
  const { file } = shown;
  button.disabled = true;
  tell("");
  const answer = await send(file, { type, query });
  const content = answer && (await answer.blob());
  button.disabled = false;
  if (!content) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = file.name.replace(/\.[^.]*$/, "") + ending;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Tell what is being done.
 *
 * @param {string} text Empty when nothing is done.
 */
function busy(text) {
  work.lastChild.textContent = text;
  work.hidden = !text;
}

/**
 * Make an item of a list.
 *
 * @param {string} text
 * @returns {HTMLLIElement}
 */
function item(text) {
  const element = document.createElement("li");
  element.textContent = text;
  return element;
}

/**
 * Write an area with three digits, in square meters or hectares.
 *
 * @param {number} meters Square meters.
 * @returns {string}
 */
function area(meters) {
  const [value, unit] = meters >= 100_000 ? [meters / 10_000, "ha"] : [meters, "m²"];
  return `${Number(value.toPrecision(3)).toLocaleString("en")} ${unit}`;
}
