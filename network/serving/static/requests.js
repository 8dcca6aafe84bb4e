/** Requests to the local server, and the line that tells when they fail. */

const line = document.getElementById("problem");

/**
 * Ask the server for JSON. If it does not answer, the page says why.
 *
 * @param {string} path Address below that of the page.
 * @returns {Promise<any>}
 */
export async function getJson(path) {
  let response;
  try {
    response = await fetch(path);
  } catch (error) {
    tell("The viewer does not answer. Start its command again.");
    throw error;
  }
  const answer = await response.json();
  if (!response.ok) {
    tell(answer.detail);
    throw new Error(answer.detail);
  }
  return answer;
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
      try {
        await getJson(tile.src);
      } catch {
        // The line tells it.
      }
      isAsking = false;
    });
  }
}

/**
 * Show a problem until another one comes.
 *
 * @param {string} text
 */
function tell(text) {
  line.textContent = text;
  line.hidden = false;
}
