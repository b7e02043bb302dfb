// The living picture: who sends to whom, how much, and who holds the virtual IP.

import { perSecond, svg } from "./dom.js";

const NARROW = 620;
const MOST_DOTS = 16; // a second on one link; more would only blur
const LIFE_S = 0.9; // a dot's way along one link
const DOTS = 260; // at a time, all links together

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Topology {
  constructor(place) {
    this.place = place;
    this.links = [];
    this.dots = [];
    this.signature = "";
    new ResizeObserver(() => this.model && this.update(this.model)).observe(place);
    requestAnimationFrame((now) => this.animate(now));
  }

  update(model) {
    this.model = model;
    const { status } = model;
    const width = Math.max(300, Math.round(this.place.clientWidth));
    const signature = [width, status.members.map((m) => m.id), status.peers.map((p) => p.id)].join("/");
    if (signature !== this.signature) {
      this.signature = signature;
      this.build(width, status);
    }
    this.refresh(model);
  }

  // geometry

  build(width, status) {
    const { members, peers } = status;
    const narrow = width < NARROW;
    const boxes = 1 + peers.length;
    const at = narrow ? narrowLayout(width, members.length, boxes) : wideLayout(width, members.length, boxes);
    this.root = svg("svg", { viewBox: `0 0 ${width} ${at.height}`, width: "100%", height: at.height, "aria-hidden": "true" });
    this.lines = svg("g");
    this.flow = svg("g", { class: "dots" });
    this.root.append(this.lines, this.flow);
    this.links = [];
    this.dots = [];

    this.caller = this.box("caller", at.caller, "SIP Server");
    this.balancers = at.balancers.map((place, i) => this.box("balancer", place, i ? `balancer ${peers[i - 1].id}` : "rmlb"));
    this.members = members.map((member, i) => this.box("member", at.members[i], `RM ${member.id}`));
    this.pill = svg("g", { class: "pill" }, svg("rect", { rx: 11, height: 22 }), svg("text", { y: 15, "text-anchor": "middle" }));
    this.root.append(this.pill);
    this.at = at;
    this.narrow = narrow;
    this.place.replaceChildren(this.root);
    this.owner = -1;
  }

  box(kind, place, title) {
    const { x, y, w, h } = place;
    const parts = {
      place,
      group: svg("g", { class: `node ${kind}`, transform: `translate(${x} ${y})` }),
      mark: svg("circle", { class: "mark", cx: 18, cy: 22, r: 5 }),
      title: svg("text", { class: "title", x: kind === "member" ? 32 : 16, y: 28 }),
      line: svg("text", { class: "line", x: 16, y: 48 }),
      small: svg("text", { class: "small", x: 16, y: 66 }),
    };
    parts.group.append(svg("rect", { class: "body", width: w, height: h, rx: 12 }));
    if (kind === "member") parts.group.append(parts.mark);
    parts.group.append(parts.title, parts.line, parts.small);
    parts.title.textContent = title;
    this.root.append(parts.group);
    return parts;
  }

  connect(from, to, key) {
    const path = svg("path", { class: "wire", d: curve(from, to, this.narrow) });
    const label = svg("g", { class: "rate" }, svg("rect", { rx: 9, height: 18 }), svg("text", { y: 13, "text-anchor": "middle" }));
    this.lines.append(path);
    this.root.insertBefore(label, this.caller.group);
    const link = { key, path, label, length: path.getTotalLength(), requests: 0, answers: 0, due: [0, 0] };
    this.links.push(link);
    return link;
  }

  wire(owner) {
    for (const link of this.links) {
      link.path.remove();
      link.label.remove();
    }
    this.links = [];
    this.flow.replaceChildren();
    this.dots = [];
    const hub = this.balancers[owner];
    this.toHub = this.connect(this.caller.place, hub.place, "callers");
    this.toMembers = this.members.map((box, i) => this.connect(hub.place, box.place, i));
    this.owner = owner;
  }

  // what it says

  refresh(model) {
    const { status } = model;
    const owner = Math.max(0, status.vip.owner ? 0 : status.peers.findIndex((peer) => peer.owner && peer.alive) + 1);
    const nobody = !status.vip.owner && !status.peers.some((peer) => peer.owner && peer.alive);
    if (owner !== this.owner) this.wire(owner);

    const received = model.rate(model.received);
    const here = status.vip.owner; // a standby sees none of the traffic
    this.caller.line.textContent = received ? `${perSecond(received)} messages/s` : here ? "no traffic" : "talks to the owner";
    this.caller.small.textContent = "and other callers";

    this.balancers.forEach((box, i) => {
      const peer = i ? status.peers[i - 1] : null;
      const alive = !peer || peer.alive;
      const owns = !nobody && i === owner;
      box.group.setAttribute("class", `node balancer ${owns ? "owns" : "waits"} ${alive ? "" : "gone"}`);
      box.line.textContent = !alive ? "silent" : owns ? "owner" : nobody ? "no owner" : "standby";
      box.small.textContent = peer ? peer.address : `this one, ${status.engine} engine`;
    });
    this.setPill(status.vip.address ?? "none", owner, nobody);

    let total = 0;
    status.members.forEach((member, i) => {
      const series = model.members.get(member.id);
      const requests = model.rate(series.requests);
      const offered = model.rate(series.offered);
      const box = this.members[i];
      total += requests;
      const lost = member.health === "out of service" || member.admin_state === "disabled";
      box.group.setAttribute("class", `node member ${tone(member)} ${member.active === false ? "passive" : ""}`);
      box.line.textContent = words(member);
      const calls = `${member.calls} ${member.calls === 1 ? "call" : "calls"}`;
      box.small.textContent = this.narrow ? calls : `${calls} · ${address(member)}`;
      const link = this.toMembers[i];
      link.requests = lost ? 0 : requests;
      link.answers = link.requests;
      link.path.setAttribute("class", `wire ${tone(member)} ${lost ? "cut" : ""}`);
      link.path.style.strokeWidth = `${1.5 + Math.min(4, Math.log2(1 + requests) * 0.55)}px`;
      setLabel(link, lost || !here ? "" : `${perSecond(offered)} calls/s`);
    });
    this.toHub.requests = this.toHub.answers = total;
    this.toHub.path.style.strokeWidth = `${1.5 + Math.min(4, Math.log2(1 + total) * 0.55)}px`;
    setLabel(this.toHub, here ? `${perSecond(total)} requests/s` : "");
  }

  setPill(address, owner, nobody) {
    const [rect, text] = this.pill.children;
    text.textContent = nobody ? `VIP ${address}: nobody` : `VIP ${address}`;
    const width = text.getComputedTextLength() + 26;
    rect.setAttribute("width", width);
    text.setAttribute("x", width / 2);
    const { x, y, w } = this.balancers[owner].place;
    const moves = this.pillAt !== undefined && this.pillAt !== owner;
    this.pillAt = owner;
    if (moves) this.movesUntil = performance.now() + 2000;
    this.pill.setAttribute("class", `pill ${nobody ? "bad" : ""} ${performance.now() < (this.movesUntil ?? 0) ? "moves" : ""}`);
    this.pill.style.transform = `translate(${x + (w - width) / 2}px, ${y - 15}px)`;
  }

  // motion

  animate(now) {
    requestAnimationFrame((next) => this.animate(next));
    const passed = Math.min(0.1, (now - (this.last ?? now)) / 1000);
    this.last = now;
    if (calm.matches || !this.model || this.frozen) return;
    for (const link of this.links) {
      this.spawn(link, 0, link.requests, passed);
      this.spawn(link, 1, link.answers, passed);
    }
    this.dots = this.dots.filter((dot) => this.move(dot, passed));
  }

  spawn(link, backwards, rate, passed) {
    link.due[backwards] += passed * Math.min(MOST_DOTS, rate);
    while (link.due[backwards] >= 1) {
      link.due[backwards] -= 1;
      if (this.dots.length >= DOTS) continue;
      const dot = { link, backwards, age: -Math.random() * 0.2, shape: svg("circle", { r: 3, class: backwards ? "answer" : "request" }) };
      dot.shape.style.opacity = "0";
      this.flow.append(dot.shape);
      this.dots.push(dot);
    }
  }

  move(dot, passed) {
    dot.age += passed;
    const part = dot.age / LIFE_S;
    if (part >= 1) {
      dot.shape.remove();
      return false;
    }
    if (part < 0) return true;
    const { path, length } = dot.link;
    const point = path.getPointAtLength(length * (dot.backwards ? 1 - part : part));
    dot.shape.setAttribute("cx", point.x);
    dot.shape.setAttribute("cy", point.y + (this.narrow ? 0 : dot.backwards ? 4 : -4));
    if (this.narrow) dot.shape.setAttribute("cx", point.x + (dot.backwards ? 4 : -4));
    dot.shape.style.opacity = String(Math.min(1, 5 * Math.min(part, 1 - part)));
    return true;
  }
}

export function tone(member) {
  if (member.admin_state === "disabled") return "off";
  if (member.health === "out of service") return "bad";
  if (member.health !== "in service" || member.admin_state === "draining") return "warn";
  return "good";
}

export function words(member) {
  const parts = [member.health];
  if (member.admin_state !== "enabled") parts.push(member.admin_state);
  else if (member.draining) parts.push("draining");
  if (member.active !== null) parts.push(member.active ? "active" : "passive");
  return parts.join(" · ");
}

export function summary(model) {
  const { status } = model;
  const owner = status.vip.owner ? "this balancer" : "another balancer or nobody";
  const members = status.members.map((member) => `Member ${member.id}: ${words(member)}, ${member.calls} calls.`);
  return `Virtual IP ${status.vip.address} is held by ${owner}. ${members.join(" ")}`;
}

function address(member) {
  return Array.isArray(member.sip) ? member.sip[0].replace(/^\w+:/, "") : member.sip;
}

function setLabel(link, text) {
  const [rect, words] = link.label.children;
  link.label.style.display = text ? "" : "none";
  if (!text) return;
  words.textContent = text;
  const width = words.getComputedTextLength() + 16;
  rect.setAttribute("width", width);
  words.setAttribute("x", width / 2);
  const point = link.path.getPointAtLength(link.length / 2);
  link.label.setAttribute("transform", `translate(${point.x - width / 2} ${point.y - 9})`);
}

function wideLayout(width, members, boxes) {
  const height = Math.max(members * 104, boxes * 112 + 16, 210) + 16;
  const stack = (n, x, w, h, gap) =>
    Array.from({ length: n }, (_, i) => ({ x, w, h, y: height / 2 - (n * h + (n - 1) * gap) / 2 + i * (h + gap) }));
  const side = Math.min(230, width * 0.25);
  const hub = Math.min(220, width * 0.24);
  return {
    height,
    caller: stack(1, 16, Math.min(170, side), 80, 0)[0],
    balancers: stack(boxes, width * 0.46 - hub / 2, hub, 80, 32),
    members: stack(members, width - side - 16, side, 80, 24),
  };
}

function narrowLayout(width, members, boxes) {
  const perRow = Math.max(1, Math.min(members, Math.floor((width - 8) / 150)));
  const rows = Math.ceil(members / perRow);
  const w = Math.min(190, (width - 8 - (perRow - 1) * 10) / perRow);
  const below = 4 + 80 + 74 + boxes * 80 + (boxes - 1) * 24 + 66;
  return {
    height: below + rows * 92,
    caller: { x: width / 2 - 90, y: 4, w: 180, h: 80 },
    balancers: Array.from({ length: boxes }, (_, i) => ({ x: width / 2 - 100, y: 158 + i * 104, w: 200, h: 80 })),
    members: Array.from({ length: members }, (_, i) => {
      const inRow = Math.min(perRow, members - Math.floor(i / perRow) * perRow);
      const left = width / 2 - (inRow * w + (inRow - 1) * 10) / 2;
      return { x: left + (i % perRow) * (w + 10), y: below + Math.floor(i / perRow) * 92, w, h: 80 };
    }),
  };
}

function curve(from, to, narrow) {
  if (narrow) {
    const [x1, y1, x2, y2] = [from.x + from.w / 2, from.y + from.h, to.x + to.w / 2, to.y];
    const mid = (y1 + y2) / 2;
    return `M${x1} ${y1} C${x1} ${mid} ${x2} ${mid} ${x2} ${y2}`;
  }
  const [x1, y1, x2, y2] = [from.x + from.w, from.y + from.h / 2, to.x, to.y + to.h / 2];
  const mid = (x1 + x2) / 2;
  return `M${x1} ${y1} C${mid} ${y1} ${mid} ${y2} ${x2} ${y2}`;
}
