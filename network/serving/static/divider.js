/** The divider: what lies to its left shows the image alone. */

const STEP = 1; // percent for an arrow key
const FAR = 10; // with Shift, and for the page keys

/**
 * Let the divider cut panes of the map, moved by mouse, finger and keyboard.
 *
 * @param {L.Map} map
 * @param {HTMLElement[]} panes Panes that are seen only to the right of it.
 */
export function startDivider(map, panes) {
  const handle = document.getElementById("divider");
  let percent = 50;

  // Leaflet moves its panes when the map is moved: the cut and the handle have to stay.
  const place = () => {
    const size = map.getSize();
    const { x, y } = map.containerPointToLayerPoint([(percent / 100) * size.x, 0]);
    L.DomUtil.setPosition(handle, L.point(x, y));
    handle.style.height = `${size.y}px`;
    const right = x + size.x;
    const bottom = y + size.y;
    const corners = [
      [x, y],
      [right, y],
      [right, bottom],
      [x, bottom],
    ];
    const shape = corners.map((corner) => corner.map((side) => `${side}px`).join(" "));
    for (const pane of panes) pane.style.clipPath = `polygon(${shape.join()})`;
  };
  const moveTo = (wanted) => {
    percent = Math.min(100, Math.max(0, wanted));
    handle.setAttribute("aria-valuenow", Math.round(percent));
    handle.setAttribute("aria-valuetext", `${Math.round(percent)} % of the map show the image`);
    place();
  };

  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    event.preventDefault(); // else the browser selects text
    handle.focus();
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = map.getContainer().getBoundingClientRect();
    moveTo((100 * (event.clientX - box.left)) / box.width);
  });
  handle.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? FAR : STEP;
    const targets = {
      ArrowLeft: percent - step,
      ArrowDown: percent - step,
      ArrowRight: percent + step,
      ArrowUp: percent + step,
      PageDown: percent - FAR,
      PageUp: percent + FAR,
      Home: 0,
      End: 100,
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    moveTo(targets[event.key]);
  });
  // Above all tiles and below the answers. What happens to the handle does not concern the map.
  map.createPane("divider").append(handle);
  L.DomEvent.disableClickPropagation(handle);
  L.DomEvent.on(handle, "keydown", L.DomEvent.stopPropagation);
  map.on("move zoom viewreset resize", place);
  handle.hidden = false;
  moveTo(percent);
}
