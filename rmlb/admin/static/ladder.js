// A SIP ladder: parties as columns, messages as arrows; one message is open at a time.
// The model is the balancer's (rmlb/trace/ladder.py); only the drawing is done here.

import { clock, count, el, svg } from "./dom.js";

const ROW = 34;
const HEAD = 44;
const LEFT = 84;
const COLUMN = 82; // the least
const MOST = 400;

export class Ladder {
  constructor(place) {
    this.place = place;
    this.clear();
    place.addEventListener("click", (event) => this.open(event.target.closest("[data-number]")?.dataset.number));
    place.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.arrows.length && this.draw()).observe(place);
  }

  clear() {
    this.arrows = [];
    this.number = null;
    this.place.replaceChildren(el("p", { class: "hint" }, "Choose a call to see its ladder, or follow live."));
  }

  set(arrows) {
    this.arrows = arrows.slice(-MOST);
    if (!this.arrows.some((arrow) => arrow.number === this.number)) this.number = null;
    this.draw();
  }

  add(arrow) {
    this.arrows.push(arrow);
    if (this.arrows.length > MOST) this.arrows.shift();
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = null;
      this.draw();
      const scroll = this.place.querySelector(".rungs");
      if (scroll) scroll.scrollTop = scroll.scrollHeight;
    });
  }

  open(number) {
    if (number === undefined) return;
    this.number = Number(number);
    this.draw();
    this.place.querySelector('.rung[tabindex="0"]')?.focus();
  }

  key(event) {
    if (!["ArrowDown", "ArrowUp"].includes(event.key)) {
      if (event.key === "Enter" || event.key === " ") {
        const rung = event.target.closest("[data-number]");
        if (rung) { event.preventDefault(); this.open(rung.dataset.number); }
      }
      return;
    }
    const at = this.arrows.findIndex((arrow) => arrow.number === this.number);
    const next = this.arrows[Math.min(this.arrows.length - 1, Math.max(0, at + (event.key === "ArrowDown" ? 1 : -1)))];
    if (next) { event.preventDefault(); this.open(next.number); }
  }

  draw() {
    if (!this.arrows.length) return void this.clear();
    const before = this.place.querySelector(".rungs")?.scrollTop ?? 0;
    const parties = columns(this.arrows);
    const others = parties.filter((party) => party !== "rmlb" && !party.startsWith("member ")).length;
    const chosen = this.arrows.find((arrow) => arrow.number === this.number);
    const rungs = el("div", { class: "rungs" });
    this.place.replaceChildren(rungs, chosen ? message(chosen, others) : el("p", { class: "hint" }, "Choose an arrow to read the message."));
    const space = Math.max(parties.length * COLUMN, rungs.clientWidth - LEFT - 2);
    const width = LEFT + space;
    const x = new Map(parties.map((party, i) => [party, LEFT + (space * (i + 0.5)) / parties.length]));
    const height = this.arrows.length * ROW + 10;
    const focusable = chosen ? chosen.number : this.arrows[0].number;

    const head = svg("svg", { class: "ladder-head", width, height: HEAD, "aria-hidden": "true" }, parties.map((party) =>
      svg("g", { transform: `translate(${x.get(party)} 0)`, class: party === "rmlb" ? "party own" : "party" },
        svg("rect", { x: -39, y: 6, width: 78, height: 30, rx: 8 }),
        svg("text", { y: 26, "text-anchor": "middle" }, clip(title(party, others))))));
    const body = svg("svg", { width, height, role: "list", "aria-label": `SIP ladder, ${this.arrows.length} messages` },
      parties.map((party) => svg("line", { class: "life", x1: x.get(party), x2: x.get(party), y1: 0, y2: height })),
      this.arrows.map((arrow, i) => rung(arrow, this.arrows[i - 1], i, x, width, {
        chosen: arrow === chosen, focusable: arrow.number === focusable, others,
      })));
    rungs.append(head, body);
    rungs.scrollTop = before;
  }
}

function rung(arrow, before, i, x, width, { chosen, focusable, others }) {
  const y = i * ROW + 24;
  const [from, to] = [x.get(arrow.source), x.get(arrow.target)];
  const right = to >= from;
  const kind = tone(arrow);
  const tip = to + (right ? -2 : 2);
  const wing = right ? -8 : 8;
  const since = before ? `+${gap(arrow.at - before.at)}` : "";
  const label = arrow.status ? arrow.label : `${arrow.label}${arrow.in_dialog && arrow.method === "INVITE" ? " (re)" : ""}`;
  const said = `${clock(arrow.at, 3)} ${arrow.label} from ${title(arrow.source, others)} to ${title(arrow.target, others)}`;
  return svg("g", { role: "listitem" },
    svg("g", { class: `rung ${kind} ${chosen ? "chosen" : ""}`, "data-number": arrow.number, role: "button", tabindex: focusable ? 0 : -1, "aria-label": said, "aria-pressed": String(chosen) },
      svg("rect", { class: "hit", x: 0, y: y - 22, width, height: ROW, rx: 6 }),
      svg("text", { class: "at", x: 6, y: y - 5 }, clock(arrow.at, 3)),
      svg("text", { class: "since", x: 6, y: y + 8 }, since),
      svg("line", { class: "shaft", x1: from, x2: tip, y1: y, y2: y }),
      svg("path", { class: "tip", d: `M${tip} ${y}l${wing} -4.5v9z` }),
      svg("text", { class: "label", x: (from + to) / 2, y: y - 6, "text-anchor": "middle" }, label)));
}

function message(arrow, others) {
  const head = `${title(arrow.source, others)} → ${title(arrow.target, others)}`;
  return el("div", { class: "message" },
    el("header", {},
      el("strong", {}, head),
      el("span", {}, `${arrow.source_address} → ${arrow.target_address}, ${arrow.transport}, ${count(arrow.octets)} octets`)),
    el("pre", { tabindex: 0, "aria-label": "Message" }, arrow.text));
}

function clip(text) {
  return text.length > 11 ? `…${text.slice(-10)}` : text;
}

function tone(arrow) {
  if (!arrow.status) return "request";
  if (arrow.status < 200) return "provisional";
  if (arrow.status < 300) return "success";
  return arrow.status < 400 ? "provisional" : "failure";
}

function gap(seconds) {
  const ms = Math.max(0, seconds) * 1000;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 9950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function columns(arrows) {
  const found = new Set(arrows.flatMap((arrow) => [arrow.source, arrow.target]));
  const members = [...found].filter((party) => party.startsWith("member ")).sort((a, b) => a.slice(7) - b.slice(7));
  const rest = [...found].filter((party) => party !== "rmlb" && !party.startsWith("member ")).sort();
  return [...rest, "rmlb", ...members];
}

function title(party, others) {
  if (party === "rmlb") return party;
  if (party.startsWith("member ")) return `RM ${party.slice(7)}`;
  return others === 1 ? "SIP Server" : party;
}
