/* Shows a card's detail: the part of GitHub-flavoured Markdown that cards use. Everything else, HTML included, stays text.

   Known: paragraphs, line breaks, headings, **strong**, *emphasis*, `code`, lists, tables, links to http(s), backslash escapes. */

import { h, safeAddress } from "./dom.js";
import { typeset } from "./format.js";

/** Turn Markdown into elements; never into markup from a string. */
export function renderMarkdown(text) {
  const fragment = document.createDocumentFragment();
  const lines = String(text).replace(/\r\n?/g, "\n").split("\n");
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [element, next] = block(lines, at);
    fragment.append(element);
    at = next;
  }
  return fragment;
}

const BULLET = /^\s{0,3}[-*+]\s+(.*)$/;
const NUMBER = /^\s{0,3}\d{1,9}[.)]\s+(.*)$/;
const HEADING = /^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE_ROW = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

function block(lines, at) {
  const heading = HEADING.exec(lines[at]);
  if (heading) return [h("h4", {}, inline(heading[2])), at + 1];
  if (isTable(lines, at)) return table(lines, at);
  for (const [pattern, tag] of [[BULLET, "ul"], [NUMBER, "ol"]]) {
    if (pattern.test(lines[at])) return list(lines, at, pattern, tag);
  }
  return paragraph(lines, at);
}

function isTable(lines, at) {
  return lines[at].includes("|") && at + 1 < lines.length && lines[at + 1].includes("-") && RULE_ROW.test(lines[at + 1])
    && cells(lines[at]).length === cells(lines[at + 1]).length;
}

function table(lines, start) {
  const head = cells(lines[start]);
  const sides = cells(lines[start + 1]).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "centre" : "end") : "start"));
  let at = start + 2;
  const rows = [];
  while (at < lines.length && lines[at].trim() && lines[at].includes("|")) {
    rows.push(cells(lines[at]));
    at += 1;
  }
  const row = (tag, texts) => h("tr", {}, head.map((_, place) => h(tag, { "data-side": sides[place] }, inline(texts[place] ?? ""))));
  const element = h("table", {}, h("thead", {}, row("th", head)), h("tbody", {}, rows.map((texts) => row("td", texts))));
  return [h("div.table-scroll", {}, element), at];
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function list(lines, start, pattern, tag) {
  const items = [];
  let at = start;
  while (at < lines.length && pattern.test(lines[at])) {
    items.push(pattern.exec(lines[at])[1]);
    at += 1;
    while (at < lines.length && /^\s{2,}\S/.test(lines[at]) && !pattern.test(lines[at])) {
      items[items.length - 1] += `\n${lines[at].trim()}`;
      at += 1;
    }
  }
  return [h(tag, {}, items.map((item) => h("li", {}, withBreaks(item)))), at];
}

function paragraph(lines, start) {
  let at = start;
  const kept = [];
  while (at < lines.length && lines[at].trim() && !(at > start && startsBlock(lines, at))) {
    kept.push(lines[at]);
    at += 1;
  }
  return [h("p", {}, withBreaks(kept.join("\n"))), at];
}

function startsBlock(lines, at) {
  return HEADING.test(lines[at]) || BULLET.test(lines[at]) || /^\s{0,3}1[.)]\s/.test(lines[at]) || isTable(lines, at);
}

/* Two spaces or a backslash at the end of a line break it; a plain newline is a space. */
function withBreaks(text) {
  return text.split(/(?: {2,}|\\)\n/).flatMap((part, place) => [place ? h("br") : null, ...inline(part.replace(/\s*\n\s*/g, " "))]);
}

const INLINE = [
  [/^\\([!-/:-@[-`{-~])/, (match) => match[1]],
  [/^(`+)([^`]|[^`].*?[^`])\1(?!`)/, (match) => h("code", {}, match[2].trim() || match[2])],
  [/^\*\*(?=\S)(.+?)(?<=\S)\*\*/, (match) => h("strong", {}, inline(match[1]))],
  [/^__(?=\S)(.+?)(?<=\S)__(?!\w)/, (match) => h("strong", {}, inline(match[1]))],
  [/^\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?!\*)/, (match) => h("em", {}, inline(match[1]))],
  [/^\[([^\]]+)\]\(([^()\s]+)\)/, (match) => link(match)],
];

function inline(text) {
  const nodes = [];
  let plain = "";
  let rest = text;
  while (rest) {
    const found = INLINE.map(([pattern, make]) => [pattern.exec(rest), make]).find(([match]) => match);
    if (found) {
      const [match, make] = found;
      nodes.push(...typeset(plain));
      plain = "";
      nodes.push(make(match));
      rest = rest.slice(match[0].length);
    } else {
      plain += rest[0];
      rest = rest.slice(1);
    }
  }
  return [...nodes, ...typeset(plain)];
}

function link(match) {
  const address = safeAddress(match[2]);
  return address ? h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, inline(match[1])) : match[0];
}
