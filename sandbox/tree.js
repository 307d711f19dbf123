/* Shows JSON as a tree that opens where the reader looks; children are drawn when they are first opened. */

import { h } from "./dom.js";
import { t } from "./texts.js";

const OPEN_DEPTH = 2;
const LONG_LIST = 12;

/** Draw a JSON value, open to a depth. */
export function jsonTree(value, openDepth = OPEN_DEPTH) {
  return h("div.tree", {}, node(null, value, openDepth, true));
}

function node(name, value, open, isRoot = false) {
  const key = name === null ? null : h("span.key", {}, `${name}: `);
  if (value === null || typeof value !== "object") return h("div.leaf", {}, key, leaf(value));
  const entries = Object.entries(value);
  const brackets = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (!entries.length) return h("div.leaf", {}, key, brackets.join(""));
  const body = h("div.branch");
  const draw = () => {
    if (!body.childElementCount) body.append(...entries.map(([inner, item]) => node(inner, item, open - 1)));
  };
  const details = h("details", { ontoggle: draw }, h("summary", {}, key, h("span.shape", {}, brackets[0], hint(value, entries), brackets[1])), body);
  if (isRoot || (open > 0 && entries.length <= LONG_LIST)) {
    draw();
    details.open = true;
  }
  return details;
}

function hint(value, entries) {
  if (Array.isArray(value)) return String(entries.length);
  if (value.resourceType) return [value.resourceType, value.id].filter(Boolean).join("/");
  return entries.slice(0, 3).map(([name]) => name).join(", ") + (entries.length > 3 ? " …" : "");
}

function leaf(value) {
  return h(`span.${value === null ? "null" : typeof value}`, {}, typeof value === "string" ? JSON.stringify(value) : String(value));
}

/** Buttons that copy and download a JSON value. */
export function jsonTools(value, fileName) {
  const text = () => JSON.stringify(value, null, 2);
  return h("div.tools", {},
    h("button.quiet", { type: "button", onclick: async (event) => {
      const button = event.currentTarget;
      await navigator.clipboard.writeText(text());
      button.textContent = t("copied");
    } }, t("copy")),
    h("button.quiet", { type: "button", onclick: () => {
      const address = URL.createObjectURL(new Blob([text()], { type: "application/json" }));
      h("a", { href: address, download: fileName }).click();
      URL.revokeObjectURL(address);
    } }, t("download")));
}
