/* Writes dates, ages, numbers and units the way a chart shows them. */

import { h } from "./dom.js";
import { language, t } from "./texts.js";

const DAY_MS = 86_400_000;

/** A FHIR date or dateTime as a day, in its own time zone: "11 Nov 2026", 「2026年11月11日」. */
export function day(text) {
  if (!text) return "";
  const [year, month, date] = text.slice(0, 10).split("-").map(Number);
  const options = { year: "numeric", ...(month ? { month: "short" } : {}), ...(date ? { day: "numeric" } : {}), timeZone: "UTC" };
  return new Intl.DateTimeFormat(language() === "ja" ? "ja-JP" : "en-GB", options).format(Date.UTC(year, (month ?? 1) - 1, date ?? 1));
}

/** A day for tables and lists, where space is dear: "11 Nov 2026", 「2026/11/11」. */
export function shortDay(text) {
  return text && language() === "ja" ? text.slice(0, 10).replaceAll("-", "/") : day(text);
}

/* Say days below 60 days, months below two years, then years. */
const SPANS = [["day", 1, 60], ["month", 30.44, 730], ["year", 365.25, Infinity]];

/** How long ago a day lies: "14 days ago", 「14日前」. */
export function ago(text, now = new Date()) {
  const days = daysBetween(text, now);
  const format = new Intl.RelativeTimeFormat(language(), { numeric: "auto" });
  const [name, length] = SPANS.find(([, , most]) => Math.abs(days) < most);
  const said = format.format(-Math.round(days / length), name);
  return language() === "ja" ? said.replace(/\s+/g, "") : said;
}

function daysBetween(text, now) {
  const [year, month = 1, date = 1] = text.slice(0, 10).split("-").map(Number);
  return Math.round((Date.UTC(now.getFullYear(), now.getMonth(), now.getDate()) - Date.UTC(year, month - 1, date)) / DAY_MS);
}

/** Whether a day lies less than so many months before now. */
export function isWithinMonths(text, months, now = new Date()) {
  const limit = new Date(Date.UTC(now.getFullYear(), now.getMonth() - months, now.getDate())).toISOString();
  return text.slice(0, 10) >= limit.slice(0, 10);
}

/** A time of day of a moment: "09:12:04". */
export function clock(text) {
  return new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(text));
}

/** An age in years, in months below two years. */
export function age(birthDate, until = new Date().toISOString()) {
  const [by, bm, bd] = birthDate.split("-").map(Number);
  const [uy, um, ud] = until.slice(0, 10).split("-").map(Number);
  const months = (uy - by) * 12 + um - bm - (ud < bd ? 1 : 0);
  return months < 24 ? t("months", { n: months }) : t("years", { n: Math.floor(months / 12) });
}

const DIGITS = { "%": 1, "mg/dL": 0, "mmol/L": 1, "mmol/mol": 0, "kg/m²": 1, mmHg: 0, cm: 1 };

/** A number with the decimals that laboratories report for its unit. */
export function number(value, unitText, digits = DIGITS[unitText] ?? 1) {
  return new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false }).format(value);
}

const UNITS = { "kg/m2": "kg/m²", "mm[Hg]": "mmHg", "mm Hg": "mmHg", "mL/min/{1.73_m2}": "mL/min/1.73 m²", "mL/min": "mL/min" };

/** A UCUM unit as people write it. */
export function unit(quantity) {
  const text = quantity.unit ?? quantity.code ?? "";
  return UNITS[text] ?? UNITS[quantity.code] ?? text;
}

/** The space between a number and its unit: none before % in Japanese. */
export function gap(unitText) {
  return unitText === "%" && language() === "ja" ? "" : " ";
}

/** Milliseconds with as many digits as they deserve. */
export function milliseconds(value) {
  return t("milliseconds", { n: value < 10 ? value.toFixed(1) : Math.round(value) });
}

const TOGETHER = /\d{4}-\d{2}-\d{2}|\d{4}年\d{1,2}月\d{1,2}日|(?:[<>≤≥] ?)?\d+(?:\.\d+)? ?(?:%|kg\/m²|mg\/dL|mmol\/L|mmHg|cm)(?:以上|以下|未満)?/g;

const REFERENCE = /(?<=\b[A-Z][A-Za-z]+\/)(?=[\w.-])/;

/** Text as nodes in which a date, and a number with its unit, never part at the end of a line; a reference may, after its type. */
export function typeset(text) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(TOGETHER)) {
    nodes.push(...withBreaks(text.slice(from, match.index)), h("span.together", {}, match[0]));
    from = match.index + match[0].length;
  }
  return [...nodes, ...withBreaks(text.slice(from))].filter((node) => node !== "");
}

function withBreaks(text) {
  return text.split(REFERENCE).flatMap((part, place) => (place ? [h("wbr"), part] : [part]));
}
