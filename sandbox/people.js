/* The patient list: find, filter, open. */

import { fill, h } from "./dom.js";
import { isWithinMonths, shortDay } from "./format.js";
import { has, t } from "./texts.js";

const HBA1C_MONTHS = 36;

/** Build the list once; the returned function redraws it for a state: {patients, failed, selected}. */
export function peopleView(root) {
  const view = { text: "", source: "all", patients: null, selected: null };
  const search = h("input.search", { type: "search", id: "search", autocomplete: "off", spellcheck: "false" });
  const label = h("label.visually-hidden", { for: "search" });
  const sources = h("div.chips", { role: "group" });
  const count = h("p.count", { role: "status" });
  const list = h("ul.people-list");
  search.addEventListener("input", () => {
    view.text = search.value;
    drawList(view, list, count);
  });
  list.addEventListener("keydown", moveFocus);
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") list.querySelector("a")?.focus();
  });
  fill(root, h("div.people-head", {}, h("h2", {}), label, search, sources, count), list);

  return function draw(state) {
    const title = root.querySelector("h2");
    title.textContent = t("patients");
    label.textContent = t("search_patients");
    search.placeholder = t("search_patients");
    sources.setAttribute("aria-label", t("filter_source"));
    Object.assign(view, state);
    if (!view.patients) {
      fill(list);
      count.textContent = t(view.failed ? "patients_failed" : "loading_patients");
      return;
    }
    drawSources(view, sources, () => draw({}));
    drawList(view, list, count);
  };
}

function drawSources(view, root, redraw) {
  const names = ["all", ...new Set(view.patients.map((patient) => patient.source))];
  fill(root, names.map((name) => h("button.chip", {
    type: "button",
    "aria-pressed": String(name === view.source),
    onclick: () => {
      view.source = name;
      redraw();
      root.querySelector("[aria-pressed=true]").focus();
    },
  }, has(`source_${name}`) ? t(`source_${name}`) : name)));
}

function drawList(view, list, count) {
  const words = view.text.trim().toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const shown = view.patients.filter((patient) => {
    const text = `${patient.name} ${patient.reading ?? ""} ${patient.id}`.toLocaleLowerCase();
    return (view.source === "all" || patient.source === view.source) && words.every((word) => text.includes(word));
  });
  count.textContent = shown.length === 0 ? t("no_patients") : shown.length === 1 ? t("count_patient") : t("count_patients", { n: shown.length });
  fill(list, shown.map((patient) => h("li", {}, line(patient, patient.id === view.selected))));
}

function line(patient, isSelected) {
  const sex = t(`short_${patient.sex ?? "unknown"}`);
  const facts = patient.age === undefined ? sex : `${sex} · ${t("short_years", { n: patient.age })}`;
  return h("a.person", { href: `#/patient/${encodeURIComponent(patient.id)}`, "aria-current": isSelected ? "page" : null },
    h("span.person-name", {}, patient.name),
    h("span.person-facts", {}, facts),
    patient.note ? null : h("span.person-data", {}, patient.newest ? t("newest_data", { date: shortDay(patient.newest) }) : t("no_data")),
    mark(patient));
}

function mark(patient) {
  if (patient.note) return h("span.person-mark.muted.note", { lang: "en" }, patient.note);
  if (patient.deceased) return h("span.person-mark.muted", {}, t("deceased"));
  if (patient.newest && patient.age >= 18 && !(patient.newestHba1c && isWithinMonths(patient.newestHba1c, HBA1C_MONTHS))) {
    return h("span.person-mark", {}, t("hba1c_old"));
  }
  return null;
}

function moveFocus(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const links = [...event.currentTarget.querySelectorAll("a")];
  const next = links[links.indexOf(document.activeElement) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  } else if (step < 0) {
    document.getElementById("search").focus();
  }
}
