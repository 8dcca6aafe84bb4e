/** Requests to the server of the page, and the line that tells when they fail. */

const line = document.getElementById("problem");

/**
 * Ask the server for JSON. If there is no answer, the page tells why.
 *
 * @param {string} path Address below that of the page.
 * @returns {Promise<any>} The answer; undefined if there is none.
 */
export async function ask(path) {
  const response = await request(path);
  return response?.json();
}

/**
 * Send a request. If it fails, the page tells why, unless the request was aborted.
 *
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response | undefined>} The response; undefined if it failed.
 */
export async function request(path, options) {
  try {
    const response = await fetch(path, options);
    if (response.ok) return response;
    const status = `The server answers with the status ${response.status}.`;
    const problem = await response.json().catch(() => ({ detail: status }));
    tell(problem.detail);
  } catch (error) {
    if (error.name !== "AbortError") tell("The server does not answer. Start its command again.");
  }
  return undefined;
}

/**
 * Tell why tiles cannot be loaded, when one fails.
 *
 * @param {L.TileLayer[]} layers
 */
export function watchTiles(layers) {
  let isAsking = false;
  for (const layer of layers) {
    layer.on("tileerror", async ({ tile }) => {
      if (isAsking) return;
      isAsking = true;
      await request(tile.src); // a picture that fails does not say why
      isAsking = false;
    });
  }
}

/**
 * Show a problem until another one comes.
 *
 * @param {string} text Empty to show none.
 */
export function tell(text) {
  line.textContent = text;
  line.hidden = !text;
}
