/* The cards, as an EHR shows them, and an honest word where there is none. */

import { announce, fill, h, safeAddress, svg } from "./dom.js";
import { typeset } from "./format.js";
import { renderMarkdown } from "./markdown.js";
import { has, language, t } from "./texts.js";

const URGENCY = ["critical", "warning", "info"];
const ICONS = {
  info: "M8 7.2v4M8 4.8v.1",
  warning: "M8 4.6v4.2M8 11.2v.1",
  critical: "M5.5 5.5l5 5M10.5 5.5l-5 5",
};

/** Draw what the services answered. `act` holds accept(entry, suggestion), dismiss(entry, reason), showOrders(). */
export function drawCards(root, { answers, asking, failed, patient }, act) {
  const title = h("h2.support-title", {}, t("decision_support"));
  if (!patient) fill(root);
  else if (failed) fill(root, title, empty(t("unreachable"), h("p", {}, t("unreachable_do"))));
  else if (asking || !answers) fill(root, title, h("p.waiting", {}, t("asking")));
  else if (!answers.length) fill(root, title, empty(t("no_service")));
  else fill(root, title, inOrder(answers).map((entry) => card(entry, act)), answers.filter((answer) => !answer.cards.length).map(noCard));
}

function inOrder(answers) {
  return answers.flatMap((answer) => answer.cards).sort((a, b) => URGENCY.indexOf(a.card.indicator) - URGENCY.indexOf(b.card.indicator));
}

function card(entry, act) {
  const root = h("article.card", { lang: entry.language, tabindex: "-1" });
  const redraw = () => fill(root, content(entry, act, redraw, root));
  entry.redraw = (focus) => {
    redraw();
    if (focus) root.focus();
  };
  redraw();
  return root;
}

function content(entry, act, redraw, root) {
  const { card: shown, outcome } = entry;
  const indicator = URGENCY.includes(shown.indicator) ? shown.indicator : "info";
  root.dataset.indicator = indicator;
  root.classList.toggle("is-done", Boolean(outcome) && !entry.reopened);
  const top = h("header.card-top", {}, h("span.indicator", { lang: language() }, icon(indicator), t(`card_${indicator}`)), source(shown.source));
  const summary = h("h3.summary", {}, typeset(shown.summary ?? ""));
  const detail = shown.detail ? h("div.detail", {}, renderMarkdown(shown.detail)) : null;
  if (outcome) return [top, summary, outcomeOf(entry, act, redraw), entry.reopened ? detail : null];
  const choices = entry.choosing ? reasons(entry, act, redraw, root) : null;
  return [top, summary, problem(entry), answers(entry, act, redraw, root), choices, detail, links(entry)];
}

function icon(indicator) {
  return svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" },
    indicator === "warning" ? svg("path", { d: "M8 1.5 15 14H1z" }) : svg("circle", { cx: 8, cy: 8, r: 6.75 }), svg("path", { d: ICONS[indicator] }));
}

function source(from) {
  const address = from?.url && safeAddress(from.url);
  const picture = sameOrigin(from?.icon) ? h("img", { src: from.icon, width: 18, height: 18, alt: "" }) : null;
  const label = address ? outside(address, from.label) : from?.label;
  return h("span.card-source", { title: t("source") }, picture, label);
}

/* The page loads nothing from other hosts, so a foreign icon is left out. */
function sameOrigin(address) {
  return Boolean(address && safeAddress(address)) && new URL(address).origin === location.origin;
}

function outside(address, label) {
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer", title: t("opens_outside") }, label);
}

/* What one can do stands above the detail: it never slips below the edge of the screen. */
function answers(entry, act, redraw, root) {
  const all = entry.card.suggestions ?? [];
  const suggestions = all.map((suggestion) => h("span.suggestion", {},
    h("button.primary", { type: "button", disabled: entry.busy, onclick: () => act.accept(entry, suggestion) }, suggestion.label),
    suggestion.isRecommended && all.length > 1 ? h("span.badge", { lang: language() }, t("recommended")) : null));
  return h("div.answers", {}, suggestions, entry.card.uuid ? dismissal(entry, redraw, root) : null);
}

function problem(entry) {
  return entry.problem ? h("p.problem", { role: "alert", lang: language() }, entry.problem) : null;
}

function dismissal(entry, redraw, root) {
  return h("button.quiet.dismiss", {
    type: "button",
    "aria-expanded": String(Boolean(entry.choosing)),
    lang: language(),
    onclick: () => {
      entry.choosing = !entry.choosing;
      redraw();
      root.querySelector(entry.choosing ? ".reasons button" : ".dismiss").focus();
    },
  }, t("dismiss"), h("span.caret", { "aria-hidden": "true" }));
}

function links(entry) {
  const all = (entry.card.links ?? []).map(linkOf).filter(Boolean);
  return all.length ? h("p.links", {}, all) : null;
}

function linkOf(link) {
  const address = safeAddress(link.url);
  if (!address) return null;
  return link.type === "smart" ? h("span.smart", { title: t("smart_link") }, link.label) : outside(address, link.label);
}

function reasons(entry, act, redraw, root) {
  const close = () => {
    entry.choosing = false;
    redraw();
    root.querySelector(".dismiss").focus();
  };
  const choice = (label, reason, kind = "button.reason") =>
    h(kind, { type: "button", onclick: () => act.dismiss(entry, reason) }, label);
  return h("div.reasons", {
    role: "group",
    "aria-label": t("dismiss_why"),
    onkeydown: (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const buttons = [...event.currentTarget.querySelectorAll("button")];
      if (event.key === "Escape") close();
      if (step) {
        event.preventDefault();
        buttons[buttons.indexOf(document.activeElement) + step]?.focus();
      }
    },
  },
  h("p.reasons-title", { lang: language() }, t("dismiss_why")),
  (entry.card.overrideReasons ?? []).map((reason) => choice(reason.display ?? reason.code, reason)),
  h("div.reasons-end", { lang: language() },
    choice(t("dismiss_no_reason"), null, "button.reason.quiet"),
    h("button.quiet", { type: "button", onclick: close }, t("cancel"))));
}

function outcomeOf(entry, act, redraw) {
  const { outcome, feedback } = entry;
  const lines = outcome.kind === "accepted"
    ? [h("strong", {}, t("accepted")), " ", t(outcome.ordered ? "accepted_order" : "accepted_plain")]
    : [h("strong", {}, t("dismissed")), " ", reasonOf(outcome)];
  const stored = feedback && (feedback.status === 200
    ? h("span.stored", {}, t("feedback_stored"))
    : h("span.stored.problem", {}, t("feedback_failed", { status: feedback.status })));
  const again = h("button.link", { type: "button", onclick: () => {
    entry.reopened = !entry.reopened;
    redraw();
  } }, t(entry.reopened ? "hide_card" : "show_card"));
  const orders = outcome.ordered ? h("button.link", { type: "button", onclick: act.showOrders }, t("show_order")) : null;
  return h("div.outcome", { lang: language(), "data-outcome": outcome.kind }, h("p", {}, lines), stored, h("p.outcome-links", {}, orders, again));
}

function reasonOf({ reason }) {
  return reason ? t("dismissed_reason", { reason: reason.display ?? reason.code }) : t("dismissed_none");
}

function empty(title, ...more) {
  return h("div.no-card", {}, h("h3", {}, title), ...more);
}

function noCard(answer) {
  if (answer.status === 0) return empty(t("unreachable"), h("p", {}, t("unreachable_do")));
  if (answer.status !== 200) return refused(answer);
  const code = answer.event?.reason;
  const sentence = code && has(code) ? t(code) : code ?? t("no_reason");
  announce(`${t("no_card")}. ${sentence}`);
  return empty(t("no_card"), h("p.service-name", {}, answer.service.title ?? answer.service.id),
    h("p.reason-sentence", {}, sentence),
    code ? h("p.reason-code", {}, t("reason_code", { code: [code, answer.event.detail].filter(Boolean).join(" / ") })) : null);
}

function refused(answer) {
  const known = has(`error_${answer.status}`) ? t(`error_${answer.status}`) : t("error_other");
  const issues = Array.isArray(answer.body?.issue) ? answer.body.issue.map(issueLine) : [];
  announce(t("error_title", { status: answer.status }));
  return h("div.no-card.refused", { role: "alert" },
    h("h3", {}, t("error_title", { status: answer.status })), h("p", {}, known),
    issues.length ? h("ul.issues", {}, issues) : null,
    h("p.reason-code", {}, t("error_as_in_ehr")));
}

function issueLine(issue) {
  const todo = issue.diagnostics ? h("span.issue-do", {}, issue.diagnostics) : null;
  return h("li", {}, h("span", {}, issue.details?.text ?? issue.code), todo);
}
