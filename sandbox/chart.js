/* The chart: who the patient is, and the values, problems, medications and orders that matter here. */

import { fill, h } from "./dom.js";
import { query, searchAll } from "./fhir.js";
import { age, ago, day, isWithinMonths, shortDay } from "./format.js";
import { readMeasures } from "./measures.js";
import { has, t } from "./texts.js";
import { valuesTable } from "./values.js";

const HBA1C_MONTHS = 36;
const ADULT_YEARS = 18;
const STUDIES_MAX = 4;

/** Read all that the chart shows, at once. */
export async function readChart(id, signal) {
  const of = (type, rest = "") => searchAll(`${type}?patient=${id}${rest}`, { signal });
  const [patient, observations, conditions, medications, orders, imaging, encounters] = await Promise.all([
    query(`Patient/${id}`, { signal }),
    of("Observation", "&_sort=-date&_count=500"),
    of("Condition", "&_sort=-onset-date"),
    of("MedicationRequest", "&_sort=-authoredon"),
    of("ServiceRequest", "&_sort=-authored"),
    of("ImagingStudy", "&_sort=-started"),
    of("Encounter", "&_sort=-date&_count=500"),
  ]);
  return { patient, measures: readMeasures(observations), observations, conditions, medications, orders, imaging, encounters };
}

/** Draw the chart; without one, an invitation or what went wrong. `who` keeps the patient's name in sight. */
export function drawChart(root, who, { chart, person, loading, failed }) {
  const toList = h("a.back", { href: "#/" }, t("back_to_patients"));
  fill(who, loading || failed || chart ? toList : null, chart ? banner(chart.patient, person) : null);
  if (failed) fill(root, notice(t("chart_failed"), t("chart_failed_do")));
  else if (loading) fill(root, h("p.waiting", {}, t("loading_chart")));
  else if (!chart) fill(root, welcome());
  else {
    const lists = h("div.lists", {}, orders(chart), problems(chart), medications(chart), visits(chart));
    fill(root, cue(chart, person), values(chart), lists, shifted(person));
  }
}

function welcome() {
  const steps = ["step_open", "step_answer", "step_look"].map((key) => h("li", {}, t(key)));
  return notice(t("choose_title"), t("choose_body"), h("ol.steps", {}, steps));
}

function notice(title, body, ...more) {
  return h("div.notice", {}, h("h2", {}, title), h("p", {}, body), ...more);
}

function banner(patient, person) {
  const died = patient.deceasedDateTime;
  const facts = [
    t(patient.gender ?? "unknown"),
    patient.birthDate && age(patient.birthDate, died),
    patient.birthDate && t("born", { date: day(patient.birthDate) }),
    died && t("died", { date: day(died) }),
    !died && patient.deceasedBoolean && t("deceased"),
  ].filter(Boolean);
  const source = has(`long_source_${person?.source}`) ? t(`long_source_${person.source}`) : "";
  return h("div.banner", {},
    h("h1", {}, person?.name ?? patient.id, person?.reading ? h("span.reading", {}, person.reading) : null),
    h("p.banner-facts", {}, facts.join(" · ")),
    h("p.banner-small", {}, [source, t("id", { id: patient.id })].filter(Boolean).join(" · ")));
}

function shifted(person) {
  return person?.shiftedDays ? h("p.shifted", {}, t("shifted", { n: person.shiftedDays })) : null;
}

/* For display only: whether a card may rest on this is the service's own, stricter judgement. */
function cue({ measures, patient }, person) {
  const newest = measures.find(({ measure }) => measure.name === "hba1c")?.readings[0];
  const died = patient.deceasedDateTime || patient.deceasedBoolean;
  const isChild = person?.age !== undefined && person.age < ADULT_YEARS;
  if (died || isChild || (newest && isWithinMonths(newest.time, HBA1C_MONTHS))) return null;
  const more = newest ? t("cue_no_hba1c_last", { date: day(newest.time) }) : t("cue_no_hba1c_ever");
  return h("p.cue", {}, h("strong", {}, t("cue_no_hba1c")), " ", more);
}

function values({ measures }) {
  return h("section.panel.values", {}, h("h2", {}, t("values")),
    measures.length ? valuesTable(measures) : h("p.none", {}, t("no_values")));
}

function panel(name, title, none, items, ...more) {
  return h("section.panel", { id: name, tabindex: "-1" }, h("h2", {}, title),
    items.length ? h("ul.items", {}, items) : h("p.none", {}, none), ...more);
}

const named = (coded) => coded?.text ?? coded?.coding?.find((coding) => coding.display)?.display ?? coded?.coding?.[0]?.code ?? "";
const statusOf = (coded) => coded?.coding?.[0]?.code;

function item(title, small, badge) {
  return h("li", {}, h("span.item-title", {}, title), badge ? h("span.badge", {}, badge) : null, small ? h("span.item-small", {}, small) : null);
}

function older(title, items) {
  return items.length ? h("details.older", {}, h("summary", {}, title), h("ul.items", {}, items)) : null;
}

function problems({ conditions }) {
  const usable = conditions.filter((condition) => statusOf(condition.verificationStatus) !== "entered-in-error");
  const isOver = (condition) => ["resolved", "inactive", "remission"].includes(statusOf(condition.clinicalStatus));
  const draw = (condition) => item(named(condition.code), condition.onsetDateTime && t("since", { date: shortDay(condition.onsetDateTime) }));
  const past = usable.filter(isOver).map(draw);
  return panel("problems", t("problems"), t("no_problems"), usable.filter((condition) => !isOver(condition)).map(draw),
    older(t("resolved", { n: past.length }), past));
}

function medications({ medications: all }) {
  const draw = (request) => item(named(request.medicationCodeableConcept), request.authoredOn && t("since", { date: shortDay(request.authoredOn) }));
  const past = all.filter((request) => request.status !== "active").map(draw);
  return panel("medications", t("medications"), t("no_medications"), all.filter((request) => request.status === "active").map(draw),
    older(t("stopped", { n: past.length }), past));
}

function orders({ orders: all }) {
  const draw = (order) => item(named(order.code), ago(order.meta?.lastUpdated ?? order.authoredOn ?? new Date().toISOString()),
    order.status === "draft" ? t("order_draft") : order.status);
  return panel("orders", t("orders"), t("no_orders"), all.map(draw));
}

function visits({ encounters, imaging }) {
  const [newest] = encounters;
  const kind = newest && (has(newest.class?.code) ? t(newest.class.code) : newest.class?.code ?? "");
  const visit = newest && item(kind, shortDay(newest.period?.start));
  const pictures = imaging.slice(0, STUDIES_MAX).map((study) => {
    const modalities = new Set((study.modality ?? study.series?.map((series) => series.modality) ?? []).map((coding) => coding.code));
    return item(study.description || named(study.procedureCode?.[0]) || [...modalities].join(", "), shortDay(study.started));
  });
  return h("section.panel", {}, h("h2", {}, t("encounters")), h("ul.items", {}, visit ?? h("li.none", {}, t("no_encounter"))),
    pictures.length ? [h("h2.second", {}, t("imaging")), h("ul.items", {}, pictures)] : null);
}

