// Server-sent events over fetch: unlike EventSource it can carry the token, and it never gives up.

const SILENT_MS = 20000; // the balancer says something at least every 15 s
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 4000;

export class Stream {
  // onState(state, detail): "connecting", "live", "lost", "refused"
  constructor(path, { onFrame, onState = () => {}, token = () => "" }) {
    Object.assign(this, { path, onFrame, onState, token });
    this.wait = FIRST_WAIT_MS;
    this.ended = false;
    this.connect();
  }

  close() {
    this.ended = true;
    clearTimeout(this.timer);
    this.abort?.abort();
  }

  async connect() {
    this.abort = new AbortController();
    const headers = this.token() ? { Authorization: `Bearer ${this.token()}` } : {};
    try {
      this.watch();
      const answer = await fetch(this.path, { headers, signal: this.abort.signal, cache: "no-store" });
      if (answer.status === 401 || answer.status === 403) {
        clearTimeout(this.watchdog);
        this.ended = true;
        this.onState("refused", answer.status);
        return;
      }
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      this.onState("live");
      this.wait = FIRST_WAIT_MS;
      await this.read(answer.body.getReader());
      throw new Error("the balancer ended it");
    } catch (error) {
      clearTimeout(this.watchdog);
      if (this.ended) return;
      this.onState("lost", error.message);
      this.timer = setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 1.6, LONGEST_WAIT_MS);
    }
  }

  async read(reader) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.ended) return;
      this.watch();
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        if (part.startsWith("data: ")) this.onFrame(JSON.parse(part.slice(6)));
      }
    }
  }

  watch() {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.abort.abort(), SILENT_MS);
  }
}
