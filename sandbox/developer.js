/* The developer's view: how the EHR asked, what went over the wire, why the answer is as it is, and the event log. */

import { fill, h } from "./dom.js";
import { clock, milliseconds } from "./format.js";
import { newestEvents } from "./hooks.js";
import { jsonTools, jsonTree } from "./tree.js";
import { t } from "./texts.js";

const TABS = ["call", "request", "response", "why", "feedback", "log"];
const PLACES = [["/cds-services", "place_discovery"], ["/fhir/metadata", "place_fhir"], ["/docs", "place_docs"]];
const LOG_LINES = 40;
const FEEDBACK_DEPTH = 6;

/** Build the view once; the returned function redraws it. `options` is the page's own state of how to ask. */
export function developerView(root, options, { sendAgain, remember }) {
  const view = { tab: "call", open: options.developerOpen, state: { answers: null, feedback: [] }, service: null };

  function draw(state = {}) {
    Object.assign(view.state, state);
    const answer = chosen(view);
    const names = { role: "tabpanel", id: "tab-panel", "aria-labelledby": `tab-${view.tab}`, tabindex: "0" };
    root.classList.toggle("is-open", view.open);
    fill(root, bar(view, answer, toggle), view.open
      ? [tabs(view, select, draw), h("div.tab-panel", names, panel(view, answer, options, sendAgain))]
      : null);
  }
  function toggle() {
    view.open = !view.open;
    remember(view.open);
    draw();
    root.querySelector(".developer-bar button").focus();
  }
  function select(tab) {
    view.tab = tab;
    draw();
    document.getElementById(`tab-${tab}`).focus();
  }
  return draw;
}

function chosen({ state, service }) {
  return state.answers?.find((answer) => answer.service.id === service) ?? state.answers?.[0] ?? null;
}

function bar({ open }, answer, toggle) {
  const line = answer
    ? [h("code", {}, `POST /cds-services/${answer.service.id}`), statusOf(answer), h("span", {}, milliseconds(answer.ms)),
      h("span", {}, countOf(answer.cards))]
    : [h("span.idle", {}, t("idle_call"))];
  return h("header.developer-bar", {}, h("button.developer-toggle", { type: "button", "aria-expanded": String(open), onclick: toggle },
    h("span.caret", { "aria-hidden": "true" }), t("developer_view")), h("p.developer-line", {}, line));
}

function statusOf({ status }) {
  return h("span.status", { "data-ok": String(status === 200) }, String(status || "–"));
}

function countOf({ length }) {
  return length ? (length === 1 ? t("cards_1") : t("cards_n", { n: length })) : t("cards_0");
}

function tabs(view, select, draw) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    select(TABS[(TABS.indexOf(view.tab) + step + TABS.length) % TABS.length]);
  };
  return h("div.tabs", { role: "tablist", onkeydown: move }, TABS.map((tab) => h("button.tab", {
    type: "button",
    role: "tab",
    id: `tab-${tab}`,
    "aria-selected": String(tab === view.tab),
    "aria-controls": "tab-panel",
    tabindex: tab === view.tab ? "0" : "-1",
    onclick: () => select(tab),
  }, t(`tab_${tab}`))), h("span.tabs-end", {}, services(view, draw), places()));
}

function places() {
  return PLACES.map(([path, key]) => h("a", { href: path, target: "_blank", rel: "noopener" }, t(key)));
}

function services(view, draw) {
  const answers = view.state.answers ?? [];
  if (answers.length < 2) return null;
  return h("select.service-choice", { onchange: (event) => {
    view.service = event.target.value;
    draw();
  } }, answers.map(({ service }) => h("option", { value: service.id, selected: service.id === view.service }, service.id)));
}

function panel(view, answer, options, sendAgain) {
  if (view.tab === "log") return log();
  if (view.tab === "feedback") return feedback(view.state.feedback);
  if (!answer) return h("p.none", {}, t("idle_call"));
  return { call: callPanel, request: requestPanel, response: responsePanel, why: whyPanel }[view.tab](answer, options, sendAgain);
}

function check(label, isOn, set, names = {}) {
  return h("label.check", names, h("input", { type: "checkbox", checked: isOn, onchange: (event) => set(event.target.checked) }), label);
}

function callPanel(answer, options, sendAgain) {
  return h("div.call", {},
    h("div.call-options", {}, h("h3", {}, t("call_options")),
      check(t("option_null"), options.nullForEmpty, (isOn) => { options.nullForEmpty = isOn; }),
      check(t("option_encounter"), options.withEncounter, (isOn) => { options.withEncounter = isOn; }),
      check(t("option_server"), options.withServer, (isOn) => { options.withServer = isOn; }),
      h("button.secondary", { type: "button", onclick: sendAgain }, t("send_again")),
      h("h3", {}, t("timings")), timings(answer)),
    h("div.call-prefetch", {}, h("h3", {}, t("prefetch")), prefetchTable(answer, options)));
}

function timings({ prefetchMs, ms, event, bytes }) {
  const lines = [["time_prefetch", prefetchMs], ["time_call", ms], ["time_service", event?.took_ms]].filter(([, value]) => typeof value === "number");
  const longest = Math.max(...lines.map(([, value]) => value), 1);
  return h("dl.timings", {}, lines.map(([key, value]) => {
    const rule = h("span.bar");
    rule.style.inlineSize = `${Math.max((value / longest) * 100, 0.5)}%`;
    return h("div", {}, h("dt", {}, t(key)), h("dd", {}, h("span.bar-track", { "aria-hidden": "true" }, rule), milliseconds(value)));
  }), h("div.bytes", {}, t("request_bytes", { n: (bytes / 1000).toFixed(1) })));
}

function prefetchTable({ report }, options) {
  const choice = ({ key }) => check(h("code", {}, key), !options.leaveOut.has(key),
    (isSent) => options.leaveOut[isSent ? "delete" : "add"](key), { title: t("option_leave_out") });
  return h("div.table-scroll", {}, h("table.prefetch", {},
    h("thead", {}, h("tr", {}, ["key", "state", "query"].map((key) => h("th", { scope: "col" }, t(key))))),
    h("tbody", {}, report.map((line) => h("tr", {},
      h("td", {}, choice(line)),
      h("td.state", { "data-state": line.state }, sentAs(line), line.ms ? h("span.ms", {}, milliseconds(line.ms)) : null),
      h("td", {}, h("code.query", {}, line.query)))))));
}

function sentAs({ state, more, entries, status }) {
  if (state !== "sent") return t(`state_${state}`, { status: status || "–" });
  return t(more ? "state_sent_more" : entries === 1 ? "state_sent_one" : "state_sent", { n: entries });
}

function requestPanel({ request }) {
  return [jsonTools(request, "request.json"), jsonTree(request)];
}

function responsePanel({ body, status }) {
  return body === null ? h("p.none", {}, t("unreachable")) : [jsonTools(body, `response-${status}.json`), jsonTree(body)];
}

function whyPanel({ event }) {
  return event ? [h("p.intro", {}, t("why_intro")), jsonTools(event, "event.json"), jsonTree(event)] : h("p.none", {}, t("why_none"));
}

function feedback(items) {
  if (!items.length) return h("p.none", {}, t("feedback_none"));
  return items.toReversed().map((item) => h("div.exchange", {},
    h("p.exchange-head", {}, h("code", {}, `POST ${item.path}`), statusOf(item), milliseconds(item.ms)),
    jsonTree(item.request, FEEDBACK_DEPTH), jsonTree(item.body)));
}

function log() {
  const root = h("div.log", {}, h("p.waiting", {}, "…"));
  const draw = async () => {
    const events = await newestEvents(LOG_LINES);
    fill(root, h("div.tools", {}, h("button.quiet", { type: "button", onclick: draw }, t("refresh"))),
      events.length ? h("ol.events", { reversed: true }, events.toReversed().map(eventLine)) : h("p.none", {}, t("log_none")));
  };
  draw();
  return root;
}

function eventLine(event) {
  const reason = typeof event.reason === "object" ? event.reason?.code : event.reason;
  const body = h("div");
  return h("li", {}, h("details", { ontoggle: () => body.childElementCount || body.append(jsonTree(event)) },
    h("summary", {}, h("span.seq", {}, String(event.seq)), h("time", {}, clock(event.at)), h("code", {}, event.type),
      h("span", {}, [event.service, reason].filter(Boolean).join(" · "))), body));
}
