// The page: one stream in, every part shown from one model.

import { ask } from "./actions.js";
import { Calls } from "./calls.js";
import { byId, clock, count, duration, el, perSecond, show } from "./dom.js";
import { badge, showMembers } from "./members.js";
import { Model } from "./model.js";
import { Stream } from "./stream.js";
import { Topology, summary } from "./topology.js";

const model = new Model();
const topology = new Topology(byId("topology"));
const calls = new Calls();
let live = false;

new Stream("/api/v1/stream", {
  onFrame(frame) {
    model.take(frame);
    if (frame.kind === "event" || frame.kind === "events") showEvents();
    else if (model.status) showAll();
  },
  onState(state, detail) {
    live = state === "live";
    document.body.dataset.link = state;
    byId("link-text").textContent = live ? "live" : "reconnecting";
    const banner = byId("banner");
    banner.hidden = live;
    banner.textContent = live ? "" : `The balancer does not answer${model.at ? `; shown is how it was at ${clock(model.at)}` : ""}. Trying again.`;
    topology.frozen = !live;
  },
});

function showAll() {
  const { status } = model;
  document.title = `${status.ready ? "" : "! "}rmlb ${status.vip.address}`;
  document.body.dataset.ready = "yes";
  showBadges(status);
  showTiles(status);
  topology.update(model);
  byId("topology-text").textContent = summary(model);
  showMembers(byId("members"), model);
  showVip(status);
  calls.update(model);
  byId("foot").textContent = `rmlb ${status.version}, ${status.engine} engine, up ${duration(status.uptime_s)}; listening on ${status.listeners.map((each) => each.address).join(", ")}`;
}

function showBadges(status) {
  show(byId("badges"),
    badge(status.vip.owner ? "owner" : "standby", status.vip.owner ? "good" : "plain"),
    badge(status.ready ? "ready" : `not ready: ${status.reason}`, status.ready ? "good" : "bad"),
    badge(status.ha_mode, "plain"));
}

function showTiles(status) {
  const sum = (name) => status.members.reduce((total, member) => total + model.rate(model.members.get(member.id)[name]), 0);
  const answered = sum("answered");
  const failed = sum("failed");
  const { messages } = status;
  const number = (name, value, note, kind = "") => el("div", { class: `tile ${kind}` }, el("span", {}, name), el("strong", {}, value), el("small", {}, note));
  const well = status.members.filter((member) => member.health === "in service" && member.admin_state === "enabled").length;
  show(byId("tiles"),
    number("Calls now", count(status.members.reduce((total, member) => total + member.calls, 0)), "answered, not yet ended"),
    number("New calls", `${perSecond(sum("offered"))}/s`, "offered to members"),
    number("Messages", `${perSecond(model.rate(model.received))}/s`, `${count(messages.received)} since the start`),
    number("Dropped", count(messages.dropped), "messages since the start", messages.dropped ? "warn" : ""),
    number("Answers 4xx to 6xx", answered + failed ? `${((100 * failed) / (answered + failed)).toFixed(failed ? 1 : 0)} %` : "–", "of final answers now", failed ? "warn" : ""),
    number("Members", `${well} of ${status.members.length}`, "in service and enabled", well === status.members.length ? "" : well ? "warn" : "bad"));
}

function showVip(status) {
  const { vip, state, peers, messages } = status;
  const line = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
  const moves = vip.provider !== "none" || peers.length > 0;
  const sums = ["forwarded", "answered", "absorbed", "dropped", "held"].map((name) => `${name} ${count(messages[name])}`).join(", ");
  const button = (action, text) => el("button", { type: "button", "data-action": action }, text);
  show(byId("vip"),
    el("dl", { class: "facts" },
      line("virtual IP", el("code", {}, vip.address ?? "none"), " ", badge(vip.owner ? "held here" : "not here", vip.owner ? "good" : "plain")),
      line("provider", vip.provider === "none" ? "none: the address does not move" : vip.provider),
      status.ha_mode === "active-standby" && line("active member", status.active === null ? "nobody yet" : `RM ${status.active}`),
      peers.map((peer) => line(`balancer ${peer.id}`, el("code", {}, peer.address), " ",
        badge(!peer.alive ? "silent" : peer.owner ? "owner" : "standby", !peer.alive ? "bad" : peer.owner ? "good" : "plain"))),
      !peers.length && line("other balancers", "none configured"),
      line("session state", `${state.backend}, `, badge(state.connected ? "connected" : "not connected", state.connected ? "good" : "bad")),
      line("bindings", count(status.bindings)),
      line("dropped", dropped(messages)),
      messages.imbalance ? line("imbalance", badge(count(messages.imbalance), "bad")) : null,
      line("trace", traced(status.trace))),
    el("p", { class: "sum" }, `received ${count(messages.received)} = ${sums}`),
    el("div", { class: "actions" },
      status.ha_mode === "active-standby" && button("switchover", "Switch over"),
      moves && !vip.owner && button("takeover", "Take over"),
      moves && vip.owner && button("release", "Release")));
}

function dropped(messages) {
  const reasons = Object.entries(messages.dropped_by_reason).map(([reason, n]) => `${reason} ${count(n)}`);
  return reasons.length ? reasons.join(", ") : "nothing";
}

function traced(trace) {
  const parts = [];
  if (trace.keep) parts.push(`${count(trace.kept)} of ${count(trace.keep)} messages kept`);
  if (trace.collector) parts.push(`HEP to ${trace.collector}: ${count(trace.hep_sent)} sent, ${count(trace.hep_lost)} lost`);
  if (trace.lost) parts.push(`${count(trace.lost)} copies lost`);
  return parts.join("; ") || "off";
}

function showEvents() {
  const trouble = byId("only-trouble").checked;
  const list = model.events.filter((event) => !trouble || event.severity !== "info").slice(-80).reverse();
  show(byId("events"), list.length
    ? list.map((event) => el("li", { class: event.severity, "data-key": event.number },
      el("time", { datetime: new Date(event.at * 1000).toISOString(), title: new Date(event.at * 1000).toLocaleString() }, clock(event.at)),
      el("span", { class: "what" }, event.name),
      el("span", { class: "fields" }, fields(event))))
    : el("li", { class: "empty" }, trouble ? "no warnings" : "nothing yet"));
}

function fields({ fields: found }) {
  const { member, from, to, why, ...rest } = found;
  const parts = [];
  if (member !== undefined) parts.push(`member ${member}`);
  if (from !== undefined) parts.push(to === undefined ? `from ${from}` : `${from} → ${to}`);
  for (const [key, value] of Object.entries(rest)) {
    const [name, unit] = key.endsWith("_s") ? [key.slice(0, -2), " s"] : [key, ""];
    parts.push(`${name.replaceAll("_", " ")} ${value}${unit}`);
  }
  if (why) parts.push(why);
  return parts.join(" · ");
}

byId("only-trouble").addEventListener("change", showEvents);

// buttons

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  const { action, member } = button.dataset;
  await ask(action, member, model.tokenNeeded);
  const again = document.querySelector(`button[data-action="${action}"]${member ? `[data-member="${member}"]` : ""}`);
  (again ?? byId(`member-${member}`))?.focus();
});

// colours

const THEMES = ["auto", "light", "dark"];

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme-name").textContent = name;
  byId("theme").setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system" : name}`);
  try { localStorage.setItem("rmlb-theme", name); } catch { /* storage is off */ }
}

let kept = "auto";
try { kept = localStorage.getItem("rmlb-theme") ?? "auto"; } catch { /* storage is off */ }
setTheme(THEMES.includes(kept) ? kept : "auto");
const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(byId("theme-name").textContent) + 1) % THEMES.length]);
byId("theme").addEventListener("click", nextTheme);

// keys

byId("help-button").addEventListener("click", () => byId("help").showModal());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const keys = {
    "/": () => byId("query").focus(),
    f: () => byId("follow").click(),
    t: nextTheme,
    "?": () => byId("help").showModal(),
  };
  if (/^[1-9]$/.test(event.key)) keys[event.key] = () => byId(`member-${event.key}`)?.focus();
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});
