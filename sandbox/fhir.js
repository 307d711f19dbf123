/* Talks to the FHIR R4 server that holds the sandbox's patients. */

const BASE = "/fhir";

/** The FHIR base as the CDS service would see it. */
export const fhirServer = () => new URL(BASE, location.origin).href;

/** An answer that was not a success: its status and its OperationOutcome, if there is one. */
export class FHIRError extends Error {
  constructor(status, outcome) {
    super(`FHIR ${status}`);
    this.status = status;
    this.outcome = outcome;
  }
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { accept: "application/fhir+json", ...options.headers } });
  const body = await response.json();
  if (!response.ok) throw new FHIRError(response.status, body);
  return body;
}

/** Run a read or a search that is written as in a prefetch template: `Patient/1`, `Observation?patient=1&code=…`. */
export function query(text, options) {
  const [path, search] = text.split(/\?(.*)/s);
  return ask(`${BASE}/${path}${search ? `?${new URLSearchParams(search)}` : ""}`, options);
}

/** All resources that a search finds, page after page. */
export async function searchAll(text, options) {
  const resources = [];
  let bundle = await query(text, options);
  for (;;) {
    resources.push(...(bundle.entry ?? []).map((entry) => entry.resource));
    const next = bundle.link?.find((link) => link.relation === "next");
    if (!next) return resources;
    const { pathname, search } = new URL(next.url);
    bundle = await ask(pathname + search, options);
  }
}

/** Create a resource; the answer is the resource as the server keeps it. */
export function create(resource) {
  return ask(`${BASE}/${resource.resourceType}`, {
    method: "POST",
    headers: { "content-type": "application/fhir+json" },
    body: JSON.stringify(resource),
  });
}
