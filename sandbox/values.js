/* The table of values: newest, date, the one before, and how it went. */

import { h, svg } from "./dom.js";
import { ago, gap, number, shortDay, unit } from "./format.js";
import { t } from "./texts.js";

const WIDTH = 96;
const HEIGHT = 24;
const EDGE = 3;
const HISTORY_MAX = 40;

/** Draw the table of all measures that have a reading. */
export function valuesTable(measures) {
  const head = ["value_test", "value_latest", "value_date", "value_before", "value_trend"];
  const bodies = [];
  let group = null;
  for (const entry of measures) {
    const body = h(entry.measure.group === group ? "tbody" : "tbody.new-group", {}, rows(entry));
    group = entry.measure.group;
    bodies.push(body);
  }
  const hasHistory = measures.some(({ readings }) => readings.length > 1);
  return h(hasHistory ? "table.values-table" : "table.values-table.newest-only", {},
    h("thead", {}, h("tr", {}, head.map((key) => h("th", { scope: "col" }, t(key))))), bodies);
}

function rows({ measure, readings }) {
  const { digits } = measure;
  const [newest, before] = readings;
  const name = t(measure.name);
  const more = readings.length - 1;
  const history = h("tr.history", { hidden: true }, h("td", { colspan: "5" }, earlier(name, readings.slice(1, HISTORY_MAX), digits)));
  const under = more > 1 ? toggle(more, name, history) : before && h("span.date", {}, shortDay(before.time));
  const row = h("tr", {},
    h("th", { scope: "row" }, name),
    h("td.latest", {}, quantity(newest, digits), notFinal(newest)),
    h("td.when", {}, h("span.date", {}, shortDay(newest.time)), h("span.ago", {}, ago(newest.time))),
    h("td.before", {}, before ? [quantity(before, digits), under] : "–"),
    h("td.trend", {}, trend(readings)));
  return more > 1 ? [row, history] : [row];
}

function toggle(count, name, history) {
  return h("button.link", {
    type: "button",
    "aria-expanded": "false",
    "aria-label": `${t("earlier_of", { name })} (${count})`,
    onclick: (event) => {
      history.hidden = !history.hidden;
      event.currentTarget.setAttribute("aria-expanded", String(!history.hidden));
    },
  }, t("show_earlier", { n: count }));
}

function earlier(name, readings, digits) {
  return h("ol.readings", { "aria-label": t("earlier_of", { name }) },
    readings.map((reading) => h("li", {}, h("span.date", {}, shortDay(reading.time)), quantity(reading, digits))));
}

/* "5.9 %", or "138/84 mmHg" for a pair. */
function quantity({ values }, digits) {
  const text = unit(values[0]);
  const shown = (as) => values.map(({ value, comparator }) => `${comparator ?? ""}${as(value)}`).join("/");
  return h("span.quantity", { title: shown(String) }, h("span.number", {}, shown((value) => number(value, text, digits))),
    text ? [gap(text), h("span.unit", {}, text)] : null);
}

function notFinal({ status }) {
  return ["final", "amended", "corrected"].includes(status) ? null : h("span.badge", {}, t("not_final", { status }));
}

/* A line through the values of one unit, by time; a pair (blood pressure) draws its upper value. */
function trend(readings) {
  const same = readings.filter(({ values }) => unit(values[0]) === unit(readings[0].values[0])).slice(0, HISTORY_MAX);
  if (same.length < 2) return null;
  const points = same.map(({ time, values }) => [Date.parse(time), values[0].value]).reverse();
  const scale = (place, size) => {
    const all = points.map((point) => point[place]);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    return (value) => EDGE + (high === low ? 0.5 : (value - low) / (high - low)) * (size - 2 * EDGE);
  };
  const [x, y] = [scale(0, WIDTH), scale(1, HEIGHT)];
  const at = points.map(([time, value]) => [x(time).toFixed(1), (HEIGHT - y(value)).toFixed(1)]);
  const [lastX, lastY] = at.at(-1);
  return svg("svg", { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" },
    svg("polyline", { points: at.map((point) => point.join(",")).join(" ") }),
    svg("circle", { cx: lastX, cy: lastY, r: 2.5 }));
}
