/* Plays the EHR's part of prefetch: resolves the templates of a service, runs them, and leaves out what failed.

   As the public CDS Hooks sandbox does, a failed or unresolved key is left out. */

import { query } from "./fhir.js";

const DAY_MS = 86_400_000;

/** The tokens that a template may use, from the hook's context and the signed-in user. */
export function tokensOf(context, today = new Date()) {
  const tokens = new Map(Object.entries(context).map(([name, value]) => [`context.${name}`, value]));
  const [type, id] = context.userId.split("/");
  tokens.set(`user${type}Id`, id);
  return (token) => tokens.get(token) ?? relativeDay(token, today);
}

function relativeDay(token, today) {
  const match = /^today\(\)(?:\s*([+-])\s*(\d+)\s*days)?$/.exec(token);
  if (!match) return null;
  const days = Number(match[2] ?? 0) * (match[1] === "-" ? -1 : 1);
  return new Date(today.getTime() + days * DAY_MS).toISOString().slice(0, 10);
}

/** Replace each {{token}}; null when one of them is not known. */
export function resolve(template, tokens) {
  let known = true;
  const text = template.replace(/\{\{\s*(.*?)\s*\}\}/g, (_, token) => {
    const value = tokens(token);
    if (value === null || value === undefined) known = false;
    return value ?? "";
  });
  return known ? text : null;
}

/** Run all templates at once.

   Returns what goes into the request's `prefetch`, and a report, one line a key: its query, how many
   milliseconds it took, how many resources came, and whether it was sent, sent as null, or left out and why. */
export async function runPrefetch(templates, context, { leaveOut = new Set(), nullForEmpty = false, signal } = {}) {
  const tokens = tokensOf(context);
  const lines = await Promise.all(Object.entries(templates ?? {}).map(([key, template]) => {
    if (leaveOut.has(key)) return { key, query: template, state: "left_out", ms: 0 };
    const text = resolve(template, tokens);
    return text === null ? { key, query: template, state: "unresolved", ms: 0 } : runOne(key, text, nullForEmpty, signal);
  }));
  const prefetch = Object.fromEntries(lines.filter((line) => "value" in line).map((line) => [line.key, line.value]));
  return { prefetch, report: lines.map(({ value, ...line }) => line) };
}

async function runOne(key, text, nullForEmpty, signal) {
  const start = performance.now();
  try {
    const value = await query(text, { signal });
    const entries = value.resourceType === "Bundle" ? (value.entry ?? []).length : 1;
    const isNull = nullForEmpty && entries === 0;
    const more = value.link?.some((link) => link.relation === "next") ?? false;
    return { key, query: text, state: isNull ? "null" : "sent", entries, more, ms: performance.now() - start, value: isNull ? null : value };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { key, query: text, state: "failed", status: error.status, ms: performance.now() - start };
  }
}
