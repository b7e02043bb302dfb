// What is known of the balancer: the last snapshot, ten minutes of history, recent events.

const SECONDS = 600;
const EVENTS = 300;
const HEALTH = { "in service": "i", suspect: "s", refusing: "r", "out of service": "o" };
const ADMIN = { enabled: "e", draining: "d", disabled: "x" };
const COLUMNS = ["health", "admin", "calls", "requests", "offered", "answered", "failed", "latency_ms"];

export class Model {
  constructor() {
    this.status = null;
    this.at = 0;
    this.tokenNeeded = false;
    this.events = [];
    this.clear();
  }

  clear() {
    this.times = [];
    this.received = [];
    this.members = new Map();
  }

  take(frame) {
    if (frame.kind === "history") this.takeHistory(frame);
    else if (frame.kind === "snapshot") this.takeSnapshot(frame);
    else if (frame.kind === "events") this.events = frame.events.slice(-EVENTS);
    else if (frame.kind === "event") this.takeEvent(frame);
  }

  takeEvent(event) {
    if (this.events.some((each) => each.number === event.number)) return;
    this.events.push(event);
    if (this.events.length > EVENTS) this.events.shift();
  }

  takeHistory(history) {
    this.clear();
    this.times = history.at.slice(0, -1); // the snapshot that follows is the last second
    this.received = history.received.slice(0, -1);
    for (const [id, columns] of Object.entries(history.members)) {
      const series = {};
      for (const name of COLUMNS) series[name] = [...columns[name]].slice(0, -1);
      this.members.set(Number(id), series);
    }
  }

  takeSnapshot(snapshot) {
    const { status } = snapshot;
    this.status = status;
    this.at = snapshot.at;
    this.tokenNeeded = snapshot.token_needed;
    this.watchers = snapshot.watchers;
    const before = this.times.length;
    push(this.times, snapshot.at);
    push(this.received, status.messages.received);
    const known = this.members;
    this.members = new Map();
    for (const member of status.members) {
      const series = known.get(member.id) ?? Object.fromEntries(COLUMNS.map((name) => [name, Array(before).fill(null)]));
      const answers = member.responses_total;
      const latency = member.probe.latency_s;
      const sample = {
        health: HEALTH[member.health] ?? "-",
        admin: ADMIN[member.admin_state] ?? "-",
        calls: member.calls,
        requests: member.requests_total,
        offered: member.initial_requests_total,
        answered: answers["2xx"] ?? 0,
        failed: (answers["4xx"] ?? 0) + (answers["5xx"] ?? 0) + (answers["6xx"] ?? 0),
        latency_ms: latency === null ? null : latency * 1000,
      };
      for (const name of COLUMNS) push(series[name], sample[name]);
      this.members.set(member.id, series);
    }
  }

  // per second, over the last `span` seconds
  rate(totals, span = 3) {
    const last = this.times.length - 1;
    const first = Math.max(0, last - span);
    const seconds = this.times[last] - this.times[first];
    if (!(seconds > 0) || totals[first] == null) return 0;
    return Math.max(0, (totals[last] - totals[first]) / seconds);
  }

  // per second, at each second; smoothed over `span`
  rates(totals, span = 5) {
    return totals.map((total, i) => {
      const first = Math.max(0, i - span);
      const seconds = this.times[i] - this.times[first];
      if (total == null || totals[first] == null || !(seconds > 0)) return null;
      return Math.max(0, (total - totals[first]) / seconds);
    });
  }
}

export function quantiles(values) {
  const sorted = values.filter((value) => value != null).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: sorted[sorted.length - 1] };
}

function push(list, value) {
  list.push(value);
  if (list.length > SECONDS) list.shift();
}
