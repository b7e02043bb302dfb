// Elements and words. Text goes in as text, never as markup: what is shown came from the network.

export const byId = (id) => document.getElementById(id);

export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

// Changes an element's children only where they differ, so that focus and selection stay.
export function show(parent, ...children) {
  const wanted = children.flat().filter((child) => child != null && child !== false);
  wanted.forEach((child, i) => patch(parent, i, typeof child === "string" ? document.createTextNode(child) : child));
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function patch(parent, i, next) {
  const now = parent.childNodes[i];
  if (!now) return void parent.append(next);
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName || now.dataset?.key !== next.dataset?.key) {
    return void now.replaceWith(next);
  }
  if (next.nodeType === Node.TEXT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  if (now === next) return;
  for (const { name } of [...now.attributes]) if (!next.hasAttribute(name)) now.removeAttribute(name);
  for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  show(now, [...next.childNodes]);
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(value) {
  return whole.format(value);
}

export function perSecond(value) {
  if (value === 0) return "0";
  return value < 9.95 ? value.toFixed(1) : whole.format(value);
}

export function milliseconds(value) {
  if (value == null) return "–";
  if (value < 9.95) return `${value.toFixed(value < 0.995 ? 2 : 1)} ms`;
  return value < 9950 ? `${whole.format(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

export function duration(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n || (unit === "s" && !parts.length)) parts.push(`${n} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

export function clock(at, digits = 0) {
  const date = new Date(at * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return digits ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}
