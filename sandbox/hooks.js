/* The client's side of CDS Hooks: discovery, one call, feedback, and the event that says why an answer is as it is. */

import { fhirServer } from "./fhir.js";

const SERVICES = "/cds-services";
const EVENTS = "/sandbox/api/events";
const ANSWERS = new Set(["prediction_made", "prediction_withheld", "rule_fired", "call_refused"]);

/** The services that answer to a hook. */
export async function discover(hook, signal) {
  const response = await fetch(SERVICES, { signal });
  if (!response.ok) throw new Error(`discovery answered ${response.status}`);
  const { services } = await response.json();
  return services.filter((service) => service.hook === hook);
}

/** Call one service. A failure to reach it is an answer too: status 0. */
export async function call(service, request, language, signal) {
  const start = performance.now();
  const body = JSON.stringify(request);
  try {
    const response = await fetch(`${SERVICES}/${encodeURIComponent(service.id)}`, {
      method: "POST",
      headers: { "content-type": "application/json", "accept-language": language },
      body,
      signal,
    });
    return { status: response.status, body: await readJSON(response), ms: performance.now() - start, bytes: body.length };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { status: 0, body: null, ms: performance.now() - start, bytes: body.length };
  }
}

async function readJSON(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Build the request of a patient-view call. */
export function patientView({ hookInstance, context, prefetch, withServer }) {
  return {
    hook: "patient-view",
    hookInstance,
    ...(withServer ? { fhirServer: fhirServer() } : {}),
    context,
    ...(Object.keys(prefetch).length ? { prefetch } : {}),
  };
}

/** Tell the service what became of a card; the answer with the item that was sent. */
export async function sendFeedback(serviceId, item) {
  const body = { feedback: [{ ...item, outcomeTimestamp: new Date().toISOString() }] };
  const start = performance.now();
  const path = `${SERVICES}/${encodeURIComponent(serviceId)}/feedback`;
  try {
    const response = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    return { path, request: body, status: response.status, body: await readJSON(response), ms: performance.now() - start };
  } catch {
    return { path, request: body, status: 0, body: null, ms: performance.now() - start };
  }
}

/** The newest events of the log; an empty list when the log can't be read. */
export async function newestEvents(count) {
  return events(`${EVENTS}?last=${count}`);
}

/** The events after a sequence number. */
export async function eventsAfter(seq) {
  return events(`${EVENTS}?after=${seq}`);
}

async function events(path) {
  const response = await fetch(path);
  return response.ok ? (await response.json()).events : [];
}

/** Find the event that belongs to an answer: by its card, by its invocation, else the newest of its service. */
export function eventOf(events, serviceId, request, cards) {
  const candidates = events.filter((event) => event.service === serviceId && ANSWERS.has(event.type));
  const uuids = new Set(cards.map((card) => card.uuid));
  return candidates.findLast((event) => uuids.has(event.card))
    ?? candidates.findLast((event) => [event.invocation, event.hook_instance].includes(request.hookInstance))
    ?? candidates.at(-1)
    ?? null;
}
