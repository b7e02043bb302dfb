// Search, the latest calls that are kept, and the ladder of one of them, afterwards or live.

import { askToken, call, token } from "./actions.js";
import { byId, clock, count, duration, el, show } from "./dom.js";
import { Ladder } from "./ladder.js";
import { badge } from "./members.js";
import { Stream } from "./stream.js";

const EVERY_MS = 2000;
const SHOWN = 12;
const TONES = { answered: "good", ended: "plain", ringing: "warn", calling: "warn", failed: "bad", cancelled: "off" };

export class Calls {
  constructor() {
    this.ladder = new Ladder(byId("ladder"));
    this.query = "";
    this.chosen = null;
    this.stream = null;
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.find(byId("query").value.trim());
    });
    byId("query").addEventListener("search", () => byId("query").value || this.find(""));
    byId("follow").addEventListener("click", () => this.toggleFollow());
    byId("call-list").addEventListener("click", (event) => {
      const found = event.target.closest("[data-call]");
      if (found) this.choose(found.dataset.call);
      else if (event.target.closest("[data-token]")) this.unlock();
    });
    byId("found").addEventListener("click", (event) => event.target.closest("[data-token]") && this.unlock());
    setInterval(() => this.refresh(), EVERY_MS);
  }

  update(model) {
    const first = !this.model;
    this.model = model;
    if (first) this.refresh();
  }

  get locked() {
    return this.model?.tokenNeeded && !token();
  }

  async unlock() {
    if (await askToken()) this.refresh();
  }

  // the list

  async refresh() {
    if (!this.model || document.hidden) return;
    const { keep } = this.model.status.trace;
    const place = byId("call-list");
    if (this.locked) {
      return show(place, el("p", { class: "empty" }, "Calls and messages are shown to holders of the token. ",
        el("button", { type: "button", "data-token": true }, "Give the token")));
    }
    if (!keep) {
      return show(place, el("p", { class: "empty" },
        "No messages are kept ([trace] keep is 0): a ladder is drawn only of what passes while you follow. ",
        "Search by the exact Call-ID still tells where a call is."));
    }
    try {
      const { calls } = await call("GET", `/api/v1/trace/calls?call-id=${encodeURIComponent(this.query)}`);
      this.showList(place, calls);
      if (this.chosen && !this.stream) this.load(this.chosen);
    } catch (error) {
      if (error.status === 401) {
        const { setToken } = await import("./actions.js");
        setToken("");
      }
    }
  }

  showList(place, calls) {
    if (!calls.length) {
      return show(place, el("p", { class: "empty" }, this.query ? "No kept call matches." : "No calls yet: they appear here as they come."));
    }
    show(place, el("ul", { class: "call-list", "aria-label": "Latest calls" }, calls.slice(0, SHOWN).map((each) =>
      el("li", { "data-key": each.call_id },
        el("button", { type: "button", "data-call": each.call_id, "aria-pressed": String(each.call_id === this.chosen) },
          el("span", { class: "people" }, `${each.from || "?"} → ${each.to || "?"}`),
          badge(each.status && each.state === "failed" ? `${each.status}` : each.state, TONES[each.state]),
          el("code", {}, each.correlation === each.call_id ? each.call_id : `${each.correlation}  ${each.call_id}`),
          el("small", {}, `${clock(each.begun)}, ${duration(each.last - each.begun)}, ${each.messages} messages`))))));
  }

  choose(callId) {
    this.unfollow();
    this.chosen = callId;
    this.ladder.clear();
    this.load(callId);
    for (const button of document.querySelectorAll("[data-call]")) button.setAttribute("aria-pressed", String(button.dataset.call === callId));
  }

  async load(callId) {
    try {
      const { arrows } = await call("GET", `/api/v1/trace?follow=0&exact=1&call-id=${encodeURIComponent(callId)}`);
      const same = arrows.length === this.ladder.arrows.length && arrows.at(-1)?.number === this.ladder.arrows.at(-1)?.number;
      if (callId === this.chosen && !same) this.ladder.set(arrows);
    } catch { /* the list says what is wrong */ }
  }

  // search

  async find(query) {
    this.query = query;
    this.unfollow();
    this.chosen = null;
    this.ladder.clear();
    show(byId("found"));
    if (!query) return this.refresh();
    const words = await this.where(query);
    await this.refresh();
    const list = [...document.querySelectorAll("[data-call]")];
    if (list.length) this.choose(list[0].dataset.call);
    show(byId("found"), el("p", { class: "found" }, words ?? (list.length
      ? `Kept: ${count(list.length)} ${list.length === 1 ? "call" : "calls"} with “${query}”.`
      : this.locked
        ? "No binding has exactly this Call-ID. To search kept messages, give the token."
        : `Neither a binding nor a kept message has “${query}”. Follow live to see its next messages.`)));
  }

  async where(query) {
    try {
      const found = await call("GET", `/api/v1/calls?call-id=${encodeURIComponent(query)}`);
      const until = found.expires_in_s === null ? "" : `, remembered for ${duration(found.expires_in_s)} more`;
      return `This Call-ID is at member ${found.member}: ${found.state}${until}.`;
    } catch {
      return null;
    }
  }

  // live

  async toggleFollow() {
    if (this.stream) return this.unfollow();
    if (this.locked && !(await askToken())) return;
    this.chosen = null;
    this.ladder.clear();
    this.query = byId("query").value.trim();
    const path = `/api/v1/trace?call-id=${encodeURIComponent(this.query)}`;
    this.stream = new Stream(path, {
      token,
      onFrame: (frame) => frame.kind === "arrow" && this.ladder.add(frame),
      onState: (state) => {
        const what = this.query ? `messages of calls with “${this.query}”` : "every message";
        const words = {
          live: `Following ${what}; what passes from now on.`,
          lost: "The balancer does not answer; trying again.",
          refused: "That token is not the right one.",
        };
        show(byId("found"), el("p", { class: "found" }, words[state]));
        if (state === "refused") this.unfollow(false);
      },
    });
    byId("follow").setAttribute("aria-pressed", "true");
    byId("follow").textContent = "Stop";
  }

  unfollow(tidy = true) {
    if (!this.stream) return;
    this.stream.close();
    this.stream = null;
    byId("follow").setAttribute("aria-pressed", "false");
    byId("follow").textContent = "Follow live";
    if (tidy) show(byId("found"));
  }
}
