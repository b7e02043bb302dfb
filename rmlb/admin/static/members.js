// Member cards: state, calls, rates, answers, latency, the last ten minutes, and buttons.

import { count, duration, el, milliseconds, perSecond, show, svg } from "./dom.js";
import { quantiles } from "./model.js";
import { tone } from "./topology.js";

const WIDTH = 600;
const HEIGHT = 64;
const MINUTES = [2, 5, 10];
const CLASSES = ["2xx", "3xx", "4xx", "5xx", "6xx"];

export function showMembers(place, model) {
  show(place, model.status.members.map((member) => card(member, model)));
}

function card(member, model) {
  const series = model.members.get(member.id);
  return el("article", { class: `card member ${tone(member)}`, "data-key": member.id, id: `member-${member.id}`, tabindex: -1, "aria-labelledby": `member-${member.id}-title` },
    el("header", { class: "card-head" },
      el("h2", { id: `member-${member.id}-title` }, `RM ${member.id}`),
      badge(member.health, healthTone(member)),
      member.admin_state !== "enabled" && badge(member.admin_state, member.admin_state === "draining" ? "warn" : "off"),
      member.active !== null && badge(member.active ? "active" : "passive", member.active ? "good" : "plain"),
      el("code", { class: "address" }, Array.isArray(member.sip) ? member.sip.join("  ") : member.sip)),
    el("p", { class: "why" }, why(member, model.at)),
    member.draining && el("p", { class: "draining" }, drain(member.draining, model.at)),
    el("dl", { class: "numbers" },
      number("calls now", count(member.calls)),
      number("new calls/s", perSecond(model.rate(series.offered))),
      number("requests/s", perSecond(model.rate(series.requests))),
      number("weight for new calls", member.takes_new_calls ? `${member.weight} %` : "none")),
    chart(member, series, model),
    latency(member, series),
    answers(member),
    el("div", { class: "actions" }, buttons(member, model.status)));
}

export function badge(text, kind) {
  return el("span", { class: `badge ${kind}` }, text);
}

function healthTone(member) {
  return { "in service": "good", "out of service": "bad" }[member.health] ?? "warn";
}

function why(member, now) {
  if (member.since === null) return `since the start${member.probe.last ? `; last probe: ${member.probe.last}` : ""}`;
  return `for ${duration(now - member.since)}${member.why ? `: ${member.why}` : ""}`;
}

function drain(draining, now) {
  const left = `${count(draining.left)} ${draining.left === 1 ? "call" : "calls"} left`;
  return `draining for ${duration(now - draining.since)} (${draining.cause}): ${left}`;
}

function number(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

// Rate of new calls, and below it the health, over two to ten minutes: as much as there is.
function chart(member, series, model) {
  const rates = model.rates(series.offered);
  const most = Math.max(1, ...rates.map((rate) => rate ?? 0));
  const last = rates.length - 1;
  const minutes = MINUTES.find((each) => last < each * 60) ?? 10;
  const x = (i) => WIDTH - ((last - i) * WIDTH) / (minutes * 60);
  const y = (rate) => HEIGHT - 4 - (rate / most) * (HEIGHT - 12);
  let line = "";
  let area = "";
  let begun = null;
  rates.forEach((rate, i) => {
    if (rate === null) return;
    line += `${begun === null ? "M" : "L"}${x(i).toFixed(1)} ${y(rate).toFixed(1)}`;
    begun ??= i;
  });
  if (begun !== null) area = `${line}L${WIDTH} ${HEIGHT}L${x(begun).toFixed(1)} ${HEIGHT}Z`;
  const text = `Member ${member.id}: new calls per second over ${minutes} minutes, at most ${perSecond(most)}; health below`;
  return el("figure", { class: "chart" },
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 14}`, preserveAspectRatio: "none", role: "img", "aria-label": text },
      [1, 2, 3, 4].map((n) => svg("line", { class: "grid", x1: (WIDTH * n) / 5, x2: (WIDTH * n) / 5, y1: 0, y2: HEIGHT })),
      area && svg("path", { class: "area", d: area }),
      line && svg("path", { class: "stroke", d: line }),
      stretches(series).map(([from, to, kind]) =>
        svg("rect", { class: `state ${kind}`, x: x(from - 1).toFixed(1), width: Math.max(1, x(to) - x(from - 1)).toFixed(1), y: HEIGHT + 4, height: 10 }))),
    el("figcaption", {}, el("span", {}, `${minutes} min ago`), el("span", {}, `new calls/s, most ${perSecond(most)}; health`), el("span", {}, "now")));
}

function stretches(series) {
  const found = [];
  series.health.forEach((letter, i) => {
    const kind = series.admin[i] === "x" ? "off" : { i: series.admin[i] === "d" ? "warn" : "good", s: "warn", r: "warn", o: "bad" }[letter];
    if (!kind) return;
    const before = found[found.length - 1];
    if (before && before[2] === kind && before[1] === i - 1) before[1] = i;
    else found.push([i, i, kind]);
  });
  return found;
}

function latency(member, series) {
  const first = member.first_response;
  const probes = quantiles(series.latency_ms);
  return el("dl", { class: "latency" },
    first !== undefined && row("first response", first && { p50: first.p50 * 1000, p95: first.p95 * 1000, p99: first.p99 * 1000 }),
    row("health probe", probes));
}

function row(name, found) {
  const parts = found ? [["p50", found.p50], ["p95", found.p95], ["p99", found.p99]] : [];
  return el("div", {}, el("dt", {}, name),
    el("dd", {}, found ? parts.map(([q, value]) => el("span", {}, el("small", {}, q), ` ${milliseconds(value)}`)) : "no answer yet"));
}

function answers(member) {
  const found = CLASSES.map((name) => [name, member.responses_total[name] ?? 0]);
  const total = found.reduce((sum, [, n]) => sum + n, 0);
  let at = 0;
  const bars = found.filter(([, n]) => n).map(([name, n]) => {
    const width = (100 * n) / total;
    const bar = svg("rect", { class: `code c${name[0]}`, x: at.toFixed(2), width: Math.max(0.6, width).toFixed(2), y: 0, height: 8 });
    at += width;
    return bar;
  });
  return el("div", { class: "answers" },
    svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: "code none", width: 100, height: 8 }), bars),
    el("p", {}, total
      ? found.filter(([, n]) => n).map(([name, n]) => el("span", { class: `key-code c${name[0]}` }, `${name} ${count(n)}`))
      : "no final answers yet"));
}

function buttons(member, status) {
  const make = (action, text) => el("button", { type: "button", "data-action": action, "data-member": member.id, "aria-label": `${text} member ${member.id}` }, text);
  return [
    member.admin_state !== "enabled" && make("enabled", "Enable"),
    member.admin_state !== "draining" && make("draining", "Drain"),
    member.admin_state !== "disabled" && make("disabled", "Disable"),
    status.ha_mode === "active-standby" && member.active === false && make("switchover", "Make active"),
  ];
}
