/* Puts the page together: who is signed in, which chart is open, what was asked, and what came back. */

import { drawCards } from "./cards.js";
import { drawChart, readChart } from "./chart.js";
import { developerView } from "./developer.js";
import { announce, fill, h, uuid } from "./dom.js";
import { create, query } from "./fhir.js";
import { call, discover, eventOf, eventsAfter, newestEvents, patientView, sendFeedback } from "./hooks.js";
import { peopleView } from "./people.js";
import { runPrefetch } from "./prefetch.js";
import { LANGUAGES, language, speak, t } from "./texts.js";

const CLINICIAN = "Practitioner/COREPRACTITIONER1";
const memory = {
  read: (name) => { try { return localStorage.getItem(`sandbox.${name}`); } catch { return null; } },
  write: (name, value) => { try { localStorage.setItem(`sandbox.${name}`, value); } catch { /* a browser that keeps nothing */ } },
};

/* How this EHR asks; the developer's view changes it. */
const options = {
  viewer: "clinician",
  nullForEmpty: false,
  withEncounter: true,
  withServer: true,
  leaveOut: new Set(),
  developerOpen: memory.read("developer") === "open",
};
/* What is on the screen. null: not known yet. */
const state = {
  patients: null,
  peopleFailed: false,
  patientId: null,
  chart: null,
  chartFailed: false,
  answers: null,
  asking: false,
  callFailed: false,
  hookInstance: null,
  feedback: [],
};
let opening = new AbortController();

const at = (id) => document.getElementById(id);
const drawPeople = peopleView(at("people"));
const drawDeveloper = developerView(at("developer"), options, {
  sendAgain: () => state.patientId && ask(uuid()),
  remember: (isOpen) => memory.write("developer", isOpen ? "open" : "closed"),
});
const act = { accept, dismiss, showOrders };

function draw() {
  const person = state.patients?.find(({ id }) => id === state.patientId);
  document.documentElement.lang = language();
  document.title = person ? t("title_with_patient", { name: person.name }) : t("product");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  at("desk").dataset.open = String(Boolean(state.patientId));
  drawTools();
  drawPeople({ patients: state.patients, failed: state.peopleFailed, selected: state.patientId });
  drawTheChart();
  drawTheCards();
}

function drawTools() {
  fill(at("viewer"), ["clinician", "patient"].map((name) => h("option", { value: name, selected: name === options.viewer }, t(`viewer_${name}`))));
  const choice = ([code, name]) => {
    const isSpoken = String(code === language());
    return h("button", { type: "button", lang: code, "aria-pressed": isSpoken, onclick: () => changeLanguage(code) }, name);
  };
  fill(at("language"), Object.entries(LANGUAGES).map(choice));
}

function drawTheChart() {
  const person = state.patients?.find(({ id }) => id === state.patientId);
  drawChart(at("chart"), at("who"), { chart: state.chart, person, loading: Boolean(state.patientId) && !state.chart, failed: state.chartFailed });
}

function drawTheCards() {
  drawCards(at("support"), { answers: state.answers, asking: state.asking, failed: state.callFailed, patient: state.patientId }, act);
  drawDeveloper({ answers: state.answers, feedback: state.feedback });
}

/* ---- opening a chart ---- */

async function open(patientId) {
  opening.abort();
  opening = new AbortController();
  Object.assign(state, { patientId, chart: null, chartFailed: false, answers: null, asking: Boolean(patientId), callFailed: false });
  delete document.body.dataset.opened;
  draw();
  if (!patientId) return;
  window.scrollTo(0, 0);
  const { signal } = opening;
  await Promise.all([readTheChart(signal), ask(uuid())]);
  if (!signal.aborted) document.body.dataset.opened = patientId;
}

async function readTheChart(signal) {
  try {
    const chart = await readChart(state.patientId, signal);
    if (!signal.aborted) state.chart = chart;
  } catch (error) {
    if (error.name === "AbortError") return;
    state.chartFailed = true;
  }
  if (!signal.aborted) drawTheChart();
}

/* ---- asking the services ---- */

async function ask(hookInstance) {
  const { signal } = opening;
  Object.assign(state, { asking: true, callFailed: false, hookInstance });
  drawTheCards();
  try {
    const [services, context, seen] = await Promise.all([discover("patient-view", signal), contextOf(state.patientId, signal), newestEvents(1)]);
    const answers = await Promise.all(services.map((service) => askOne(service, context, hookInstance, signal)));
    const events = await eventsAfter(seen.at(-1)?.seq ?? 0);
    if (signal.aborted) return;
    state.answers = answers.map((answer) => ({ ...answer, event: eventOf(events, answer.service.id, answer.request, answer.body?.cards ?? []) }));
  } catch (error) {
    if (error.name === "AbortError") return;
    state.callFailed = true;
  }
  state.asking = false;
  drawTheCards();
  const count = state.answers?.flatMap((answer) => answer.cards).length;
  if (count) announce(count === 1 ? t("cards_1") : t("cards_n", { n: count }));
}

async function contextOf(patientId, signal) {
  const userId = options.viewer === "clinician" ? CLINICIAN : `Patient/${patientId}`;
  const context = { userId, patientId };
  if (!options.withEncounter) return context;
  const newest = (await query(`Encounter?patient=${patientId}&_sort=-date&_count=1`, { signal })).entry?.[0]?.resource;
  return newest ? { ...context, encounterId: newest.id } : context;
}

async function askOne(service, context, hookInstance, signal) {
  const start = performance.now();
  const { prefetch, report } = await runPrefetch(service.prefetch, context, { ...options, signal });
  const prefetchMs = performance.now() - start;
  const request = patientView({ hookInstance, context, prefetch, withServer: options.withServer });
  const spoken = language();
  const answer = await call(service, request, spoken, signal);
  const entry = (card) => ({ card, patientId: context.patientId, service: service.id, language: spoken });
  const cards = Array.isArray(answer.body?.cards) ? answer.body.cards.map(entry) : [];
  return { service, request, report, prefetchMs, cards, ...answer };
}

/* ---- what the clinician does with a card ---- */

async function accept(entry, suggestion) {
  Object.assign(entry, { busy: true, problem: null });
  entry.redraw();
  try {
    const orders = await apply(suggestion.actions ?? [], entry.patientId);
    entry.outcome = { kind: "accepted", ordered: orders > 0 };
  } catch (error) {
    const why = error.outcome?.issue?.[0]?.details?.text ?? error.message;
    Object.assign(entry, { busy: false, problem: t("order_failed", { why }) });
    entry.redraw();
    return;
  }
  entry.redraw(true);
  announce(t("accepted"));
  if (entry.card.uuid && suggestion.uuid) {
    await report(entry, { card: entry.card.uuid, outcome: "accepted", acceptedSuggestions: [{ id: suggestion.uuid }] });
  }
  await readTheChart(opening.signal);
}

async function apply(actions, patientId) {
  const creates = actions.filter(({ type }) => type === "create");
  if (creates.length < actions.length) throw new Error(t("action_unsupported"));
  const isOthers = ({ resource }) => resource?.subject && resource.subject.reference !== `Patient/${patientId}`;
  if (creates.some(isOthers)) throw new Error(t("order_other_patient"));
  for (const { resource } of creates) await create(resource);
  return creates.length;
}

async function dismiss(entry, reason) {
  entry.outcome = { kind: "overridden", reason };
  entry.redraw(true);
  announce(t("dismissed"));
  const { code, system } = reason ?? {};
  await report(entry, { card: entry.card.uuid, outcome: "overridden", ...(reason ? { overrideReason: { reason: { code, system } } } : {}) });
}

async function report(entry, item) {
  entry.feedback = await sendFeedback(entry.service, item);
  state.feedback.push(entry.feedback);
  entry.redraw();
  drawDeveloper({ feedback: state.feedback });
}

function showOrders() {
  const orders = at("orders");
  orders?.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  orders?.focus({ preventScroll: true });
}

/* ---- the page itself ---- */

/* The same chart opening, told in the other language: the invocation keeps its id. An answered card stays as it is. */
function changeLanguage(code) {
  speak(code);
  memory.write("language", code);
  draw();
  at("language").querySelector("[aria-pressed=true]").focus();
  const isAnswered = state.answers?.some(({ cards }) => cards.some(({ outcome }) => outcome));
  if (state.patientId && !isAnswered) ask(state.hookInstance ?? uuid());
}

function route() {
  const match = /^#\/patient\/(.+)$/.exec(location.hash);
  const patientId = match ? decodeURIComponent(match[1]) : null;
  if (patientId !== state.patientId) open(patientId);
}

async function start() {
  speak(new URLSearchParams(location.search).get("lang") ?? memory.read("language") ?? (navigator.language.startsWith("ja") ? "ja" : "en"));
  at("viewer").addEventListener("change", (event) => {
    options.viewer = event.target.value;
    if (state.patientId) ask(uuid());
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    at("chart").focus();
  });
  window.addEventListener("hashchange", route);
  draw();
  try {
    const response = await fetch("/sandbox/api/patients");
    if (!response.ok) throw new Error(String(response.status));
    state.patients = (await response.json()).patients;
  } catch {
    state.peopleFailed = true;
  }
  draw();
  route();
}

start();
