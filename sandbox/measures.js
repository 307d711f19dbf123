/* Which codes the chart shows as which value. For display only: the CDS service reads the chart by its own, stricter sets. */

const LOINC = "http://loinc.org";
const JLAC10 = ["http://medis.or.jp/CodeSystem/master-JLAC10-17digits", "urn:oid:1.2.392.200119.4.504"];

/** In the order of the chart; `group` draws a line between kinds, `digits` overrules the unit's usual decimals. */
export const MEASURES = [
  { name: "hba1c", group: 1, loinc: ["4548-4", "17856-6", "59261-8", "4549-2", "17855-8", "41995-2", "62388-4", "71875-9", "96595-4"],
    jlac10: ["3D046000001920402", "3D046000001906202", "3D046000001927102", "3D046000001806201", "3D046000001829101",
      "3D046000001921002", "3D046000001923702", "3D046000001999902", "3D046000002129102"] },
  { name: "glucose_fasting", group: 1, loinc: ["1558-6", "14771-0"],
    jlac10: ["3D010000001926101", "3D010000001927201", "3D010000001999901"] },
  { name: "glucose", group: 1, loinc: ["2345-7", "2339-0", "14749-6", "15074-8"],
    jlac10: ["3D010129901926101", "3D010129901927201", "3D010129901999901"] },
  { name: "total_cholesterol", group: 2, loinc: ["2093-3", "14647-2"], jlac10: ["3F050000002327101"] },
  { name: "ldl", group: 2, loinc: ["13457-7", "18262-6", "39469-2", "2089-1"], jlac10: ["3F077000002327101", "3F077000002391901"] },
  { name: "hdl", group: 2, loinc: ["2085-9", "14646-4"], jlac10: ["3F070000002327101"] },
  { name: "triglycerides", group: 2, loinc: ["2571-8", "14927-8"], jlac10: ["3F015000002327101", "3F015129902327101"] },
  { name: "bmi", group: 3, loinc: ["39156-5"], jlac10: ["9N011000000000001"] },
  { name: "waist", group: 3, loinc: ["56086-2", "8280-0"], jlac10: ["9N016160100000001"] },
  { name: "blood_pressure", group: 3, systolic: { loinc: ["8480-6"], jlac10: ["9A751000000000001", "9A752000000000001", "9A755000000000001"] },
    diastolic: { loinc: ["8462-4"], jlac10: ["9A761000000000001", "9A762000000000001", "9A765000000000001"] } },
  { name: "egfr", group: 4, digits: 0, loinc: ["33914-3", "62238-1", "98979-8"], jlac10: [] },
  { name: "creatinine", group: 4, digits: 2, loinc: ["38483-4", "2160-0"], jlac10: ["3C015000002327101"] },
];

function carries(coded, codes) {
  return (coded?.coding ?? []).some(({ system, code }) =>
    (system === LOINC && codes.loinc.includes(code)) || (JLAC10.includes(system) && codes.jlac10.includes(code)));
}

const timeOf = (observation) => observation.effectiveDateTime ?? observation.effectivePeriod?.start ?? observation.effectiveInstant;

/** Readings of each measure, newest first: [{measure, readings: [{time, values: [Quantity], status, id}]}], empty ones left out. */
export function readMeasures(observations) {
  const usable = observations
    .filter((observation) => observation.status !== "entered-in-error" && timeOf(observation))
    .sort((a, b) => Date.parse(timeOf(b)) - Date.parse(timeOf(a)));
  return MEASURES
    .map((measure) => ({ measure, readings: measure.systolic ? pressures(usable, measure) : quantities(usable, measure) }))
    .filter(({ readings }) => readings.length);
}

function reading(observation, values) {
  return { time: timeOf(observation), status: observation.status, id: observation.id, values };
}

function quantities(observations, codes) {
  return observations
    .filter((observation) => carries(observation.code, codes) && typeof observation.valueQuantity?.value === "number")
    .map((observation) => reading(observation, [observation.valueQuantity]));
}

/* Blood pressure comes as one panel with two components, or (Japan) as two Observations of one time. */
function pressures(observations, { systolic, diastolic }) {
  const component = (observation, codes) => observation.component?.find((part) => carries(part.code, codes))?.valueQuantity;
  const panels = observations
    .map((observation) => reading(observation, [component(observation, systolic), component(observation, diastolic)]))
    .filter(({ values }) => values.every((quantity) => typeof quantity?.value === "number"));
  const lower = quantities(observations, diastolic);
  const pairs = quantities(observations, systolic).flatMap((upper) => {
    const match = lower.find(({ time }) => time === upper.time);
    return match ? [{ ...upper, values: [upper.values[0], match.values[0]] }] : [];
  });
  return [...panels, ...pairs].sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
}
