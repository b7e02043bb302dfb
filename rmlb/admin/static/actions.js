// What the operator says: a question first, the token where one is needed, and what came of it.

import { byId } from "./dom.js";

const KEY = "rmlb-token";

let given = "";
try {
  given = sessionStorage.getItem(KEY) ?? "";
} catch { /* storage is off: the token lasts as long as the page */ }

export const token = () => given;

export function setToken(value) {
  given = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch { /* as above */ }
}

const MEMBER = {
  enabled: (n) => ["Enable", `Member ${n} gets new calls again.`],
  draining: (n) => ["Drain", `Member ${n} gets no new calls. Its calls go on until they end.`],
  disabled: (n) => ["Disable", `Member ${n} is taken away at once. Its calls belong to the other members from now on.`],
};

const OTHERS = {
  switchover: (n) => ["Switch over", n
    ? `Member ${n} becomes active. The present one drains: its calls go on until they end.`
    : "Another member becomes active. The present one drains: its calls go on until they end."],
  takeover: () => ["Take over", "This balancer takes the virtual IP from its present owner."],
  release: () => ["Release", "This balancer gives the virtual IP to a standby that is ready."],
};

// Ask, then do it. Resolves when the dialog closes.
export function ask(action, member, tokenNeeded) {
  const [word, text] = (MEMBER[action] ?? OTHERS[action])(member);
  const title = MEMBER[action] ? `${word} member ${member}?` : `${word}?`;
  return question(title, text, word, action === "disabled" || action === "release", tokenNeeded, () => send(action, member));
}

// Ask for the token alone, to read messages.
export function askToken() {
  return question("Token", "Messages hold what callers said: they are shown to holders of the token.", "Use it", false, true, async () => {});
}

function question(title, text, word, grave, tokenNeeded, work) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-error").textContent = "";
  byId("confirm-yes").textContent = word;
  byId("confirm-yes").className = grave ? "primary grave" : "primary";
  const field = byId("token");
  const showField = (shown) => {
    byId("token-label").hidden = !shown;
    field.required = shown;
  };
  showField(tokenNeeded && !given);
  field.value = "";
  dialog.showModal();
  (byId("token-label").hidden ? byId("confirm-yes") : field).focus();
  return new Promise((resolve) => {
    let done = false;
    byId("confirm-form").onsubmit = async (event) => {
      event.preventDefault();
      if (!byId("token-label").hidden) setToken(field.value.trim());
      byId("confirm-yes").disabled = true;
      try {
        await work();
        done = true;
        dialog.close();
      } catch (error) {
        byId("confirm-error").textContent = error.message;
        if (error.status === 401) {
          setToken("");
          showField(true);
          field.select();
        }
      } finally {
        byId("confirm-yes").disabled = false;
      }
    };
    byId("confirm-no").onclick = () => dialog.close();
    dialog.onclose = () => {
      if (dialog.open) return; // the browser tells of a close later: of the question before this one
      byId("confirm-form").onsubmit = null;
      resolve(done);
    };
  });
}

async function send(action, member) {
  if (MEMBER[action]) await call("PUT", `/api/v1/members/${member}`, { state: action });
  else await call("POST", `/api/v1/${action}`, action === "switchover" && member ? { member: Number(member) } : null);
  const [word] = (MEMBER[action] ?? OTHERS[action])(member);
  toast(MEMBER[action] ? `${word}: member ${member} is ${action}` : `${word}: done`);
}

export async function call(method, path, body = null) {
  const headers = { Accept: "application/json" };
  if (given) headers.Authorization = `Bearer ${given}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new Error("The balancer does not answer.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const error = new Error(answer.status === 401 ? "That token is not the right one." : content.error ?? `HTTP ${answer.status}`);
  error.status = answer.status;
  throw error;
}

let fading;

export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => place.classList.remove("shown"), 4000);
}
