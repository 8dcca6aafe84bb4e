/** The page that lists the addresses of the service, from its description by OpenAPI. */

import { ask } from "./requests.js";

const description = await ask("openapi.json");
if (description) {
  const sections = Object.entries(description.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => section(path, method, operation)),
  );
  document.querySelector("article").append(...sections);
}

/**
 * Describe one operation.
 *
 * @param {string} path
 * @param {string} method
 * @param {object} operation
 * @returns {HTMLElement}
 */
function section(path, method, operation) {
  const part = document.createElement("section");
  const title = element("h2", "");
  title.append(element("code", `${method.toUpperCase()} ${path}`), ` ${operation.summary}`);
  part.append(title);
  if (operation.description) part.append(element("p", operation.description.replaceAll("`", "")));
  if (operation.requestBody) {
    const { description: words, content } = operation.requestBody;
    part.append(element("h3", "Body"), element("p", words));
    part.append(element("p", `Types: ${Object.keys(content).join(", ")}`));
  }
  const parameters = (operation.parameters ?? []).map(({ name, schema, description: words }) => [
    name,
    [words, `Default: ${schema.default}.`].filter((text) => !/undefined/.test(text)).join(" "),
  ]);
  if (parameters.length) part.append(element("h3", "Settings"), table(parameters));
  const answers = Object.entries(operation.responses).map(([status, answer]) => [
    status,
    [answer.description, Object.keys(answer.content ?? {}).join(", ")].filter(Boolean).join(" · "),
  ]);
  part.append(element("h3", "Answers"), table(answers));
  return part;
}

/**
 * Make a table of two columns.
 *
 * @param {string[][]} rows
 * @returns {HTMLTableElement}
 */
function table(rows) {
  const made = document.createElement("table");
  for (const row of rows) {
    const line = made.insertRow();
    for (const text of row) line.insertCell().textContent = text;
  }
  return made;
}

/**
 * Make an element of a text.
 *
 * @param {string} name Name of the element.
 * @param {string} text
 * @returns {HTMLElement}
 */
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
