// What pages do in the browser beside htmx: values in the reader's own words, and the keyboard.
"use strict";

const WORDS = {
  TIME: (node) => new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(node.dateTime)),
  DATA: (node) =>
    node.dataset.currency
      ? new Intl.NumberFormat(undefined, { style: "currency", currency: node.dataset.currency }).format(node.value)
      : new Intl.NumberFormat().format(node.value),
};

function localize(root) {
  for (const node of root.querySelectorAll("time[datetime], data[value]")) {
    const written = node.textContent;
    // A plain date has no zone: shown as it stands in the books, not moved into the reader's day.
    const text = node.tagName === "TIME" && node.dateTime.length === 10
      ? new Intl.DateTimeFormat(undefined, { ...("short" in node.dataset ? { day: "numeric", month: "short" } : { dateStyle: "medium" }), timeZone: "UTC" }).format(new Date(node.dateTime))
      : WORDS[node.tagName](node);
    if (text !== written) {
      node.title = node.title || written;
      node.textContent = text;
    }
  }
}

let going = false;

function typing(target) {
  return target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) && target.type !== "checkbox";
}

// In a list, j and k move from row to row, x chooses the row.
function moved(key) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length || !["j", "k", "x"].includes(key)) return false;
  const at = document.activeElement.closest("tr")?.querySelector("[data-row]");
  const place = rows.indexOf(at);
  if (key === "x") at?.closest("tr").querySelector("input[type=checkbox]")?.click();
  else rows[key === "j" ? Math.min(place + 1, rows.length - 1) : Math.max(place - 1, 0)].focus();
  return true;
}

// `g` and a letter goes to a page; a key alone presses what carries it among its data-key, if it can be seen.
function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (event.key === "g" && !going) {
    going = true;
    setTimeout(() => { going = false; }, 1500);
    return;
  }
  const wanted = going ? "go" : "key";
  going = false;
  if (wanted === "key" && moved(event.key)) return event.preventDefault();
  const targets = document.querySelectorAll(`[data-${wanted}~="${CSS.escape(event.key)}"]:not([disabled])`);
  const target = [...targets].find((node) => node.checkVisibility());
  // A key that is held down would decide on one bill after the other.
  if (!target || event.repeat) return;
  event.preventDefault();
  target.focus();
  if (!typing(target)) target.click();
}

// A part that is brought up to date keeps what the person has chosen and unfolded in it.
let chosen = [];
let unfolded = [];

// Between the press and the release of a button nothing moves: what is pressed has to be there still when it is let go.
let held = false;
const waiting = new Map();

function release() {
  held = false;
  for (const [part, why] of waiting) htmx.trigger(part, why);
  waiting.clear();
}

function before(event) {
  const { elt, requestConfig, target } = event.detail;
  if (held && requestConfig.headers["X-Unasked"]) {
    event.detail.shouldSwap = false;
    waiting.set(elt, requestConfig.triggeringEvent?.type ?? "sse:opened");
    return;
  }
  const name = target?.dataset.keeps;
  chosen = name ? [...target.querySelectorAll(`input[name="${name}"]:checked`)].map((box) => box.id) : [];
  unfolded = target ? [...target.querySelectorAll("details[open][id]")].map((node) => node.id) : [];
}

function after() {
  for (const id of unfolded.splice(0)) document.getElementById(id)?.setAttribute("open", "");
  for (const id of chosen.splice(0)) {
    const box = document.getElementById(id);
    if (box) box.checked = true;
  }
}

// The stream of events of one address, shared by all tabs that show it: a browser keeps only six connections to one
// host, so a stream for each tab would keep the seventh from loading. The tab that holds the lock has the connection
// and tells the others; when it is closed, the next one takes over.
class Stream extends EventTarget {
  constructor(url) {
    super();
    this.readyState = EventSource.CONNECTING;
    this.channel = new BroadcastChannel(`weir ${url}`);
    this.channel.onmessage = (event) => this.hear(event.data);
    this.closing = new AbortController();
    this.closed = new Promise((done) => this.closing.signal.addEventListener("abort", done));
    this.begin(url, `weir ${url}`).catch((error) => {
      if (error.name !== "AbortError") throw error;
    });
  }

  async begin(url, name) {
    const led = await navigator.locks.request(name, { ifAvailable: true }, (lock) => (lock ? this.lead(url) : false));
    if (led || this.closing.signal.aborted) return;
    this.hear({ state: EventSource.OPEN });
    this.hear({ topic: "opened" }); // what moved since the page was made was told to the others
    await navigator.locks.request(name, { signal: this.closing.signal }, () => this.lead(url));
  }

  async lead(url) {
    const source = new EventSource(url);
    source.onopen = source.onerror = () => this.tell({ state: source.readyState });
    for (const topic of document.querySelector("meta[name=topics]").content.split(" ")) {
      source.addEventListener(topic, () => this.tell({ topic }));
    }
    await this.closed;
    source.close();
    return true;
  }

  tell(said) {
    this.channel.postMessage(said);
    this.hear(said);
  }

  hear({ topic, state }) {
    if (topic) {
      this.dispatchEvent(new MessageEvent(topic, { data: "" }));
      return;
    }
    this.readyState = state;
    if (state === EventSource.OPEN) {
      this.onopen?.(new Event("open"));
      return;
    }
    if (state === EventSource.CLOSED) this.close(); // whoever uses it makes another after a while
    this.onerror?.(new Event("error"));
  }

  close() {
    this.readyState = EventSource.CLOSED;
    this.closing.abort();
    this.channel.close();
  }
}

function lost(is) {
  const told = document.getElementById("lost");
  if (told) told.hidden = !is;
}

// What a page asks for by itself, because something moved, keeps no session alive: nobody may be there.
function unasked({ detail }) {
  if (!detail.triggeringEvent || detail.triggeringEvent.type.startsWith("sse:")) detail.headers["X-Unasked"] = "true";
}

htmx.createEventSource = (url) => new Stream(url);
document.addEventListener("keydown", pressed);
for (const name of ["htmx:sseError", "htmx:sendError"]) document.addEventListener(name, () => lost(true));
for (const name of ["htmx:sseOpen", "htmx:afterOnLoad"]) document.addEventListener(name, () => lost(false));
document.addEventListener("pointerdown", () => { held = true; }, true);
for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => setTimeout(release), true);
document.addEventListener("htmx:configRequest", unasked);
document.addEventListener("htmx:beforeSwap", before);
document.addEventListener("htmx:afterSwap", after);
document.addEventListener("htmx:load", (event) => localize(event.target));
localize(document);
