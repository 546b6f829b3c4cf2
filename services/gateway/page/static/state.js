// What the page knows, and everything that can happen to it. Views read the signals and call the
// functions; nothing else talks to the gateway but the gallery's arrivals (arrivals.js).

/** @import { Collection, Query, Reference, Step } from "../types.js" */

import * as api from "./api.js";
import { emptyQuery, fromHash, toHash } from "./link.js";
import { firsts, rank } from "./plane.js";
import { batch, computed, signal, untracked } from "./view.js";

export const DRAWN = 50;

/** @type {import("@preact/signals-core").Signal<"search" | "gallery">} */
export const view = signal("search");
/** @type {import("@preact/signals-core").Signal<Collection[]>} */
export const collections = signal([]);
/** @type {import("@preact/signals-core").Signal<"starting" | "up" | "down">} */
export const connection = signal("starting");
export const keyWanted = signal(false);
/** What the reader is composing. */
export const draft = signal(emptyQuery(""));
/** The conversation, oldest first, and where in it the reader stands. */
export const trail = signal(/** @type {Step[]} */ ([]));
export const at = signal(-1);
export const searching = signal(false);
/** @type {import("@preact/signals-core").Signal<api.Refused | null>} */
export const failure = signal(null);
/** Said to screen readers, and shown for a moment. */
export const said = signal({ text: "", shown: false });
/** The image whose details are open. */
export const opened = signal(/** @type {string | null} */ (null));
export const forgotten = signal(/** @type {ReadonlySet<string>} */ (new Set()));

export const step = computed(() => trail.value[at.value] ?? null);
export const collection = computed(() => collections.value.find((one) => one.name === draft.value.collection) ?? null);
/** The weights of the sliders: the draft's, else those that the last answer was made with, else none. */
export const weights = computed(() => {
  const { alpha, beta } = draft.value;
  const answer = step.value?.answer;
  return { alpha: alpha ?? answer?.alpha ?? 0.5, beta: beta ?? answer?.beta ?? 0.2, chosen: alpha !== null };
});

const answer = computed(() => step.value?.answer ?? null);
const pool = computed(() => answer.value?.candidates.filter((c) => !forgotten.value.has(c.image)) ?? []);
/** The candidates that are drawn, in order; null where picture and words cancel each other out. */
export const ranked = computed(() => {
  const { alpha, beta } = weights.value;
  return answer.value && (rank(pool.value, answer.value.norms, alpha, beta, DRAWN));
});
/** Who is first where; made anew with each answer, not with each weight. */
export const plane = computed(() => answer.value && firsts(pool.value, answer.value.norms));
/** Images that the answer left out, and other weights could bring in. */
export const unseen = computed(() => {
  const { candidates, images } = answer.value ?? { candidates: [], images: 0 };
  return candidates.length >= api.POOL ? Math.max(0, images - candidates.length) : 0;
});

/**
 * Says it to screen readers; to all others too if they would not see it anyway.
 * @param {string} text
 * @param {boolean} [shown]
 */
export function say(text, shown = false) {
  // because: the same words twice are read once
  said.value = { text: said.peek().text === text ? `${text}\u00a0` : text, shown };
}

/** @param {Partial<Query>} change */
export const compose = (change) => {
  draft.value = { ...draft.value, ...change };
};

/** @param {Reference | null} reference */
export function startFrom(reference) {
  batch(() => {
    compose({ reference, more: [], less: [] });
    view.value = "search";
    failure.value = null;
  });
}

/**
 * A picture of the gallery is searched with at once.
 * @param {string} id
 */
export function searchFrom(id) {
  startFrom({ id });
  return search();
}

/** @param {File} file */
export function startFromFile(file) {
  if (!file.type.startsWith("image/")) return say(`${file.name} is no picture.`, true);
  startFrom({ file, name: file.name, url: URL.createObjectURL(file) });
  say(`${file.name} is the reference.`);
  return search();
}

/**
 * A picture of the gallery becomes the next reference; what should differ is asked anew.
 * @param {string} id
 */
export function continueWith(id) {
  batch(() => {
    startFrom({ id });
    compose({ modifier: "", negative: "" });
    opened.value = null;
  });
  say("This image is the reference now. Say what should differ.", true);
  queueMicrotask(() => document.getElementById("modifier")?.focus());
}

/**
 * @param {string} id
 * @param {"more" | "less"} side
 */
export function judge(id, side) {
  const other = side === "more" ? "less" : "more";
  const without = draft.value[side].filter((one) => one !== id);
  const marked = without.length < draft.value[side].length;
  return ask({ [side]: marked ? without : [...without, id], [other]: draft.value[other].filter((one) => one !== id) });
}

/**
 * @param {number} alpha
 * @param {number} beta
 */
export function weighAt(alpha, beta) {
  const round = (/** @type {number} */ x) => Math.min(1, Math.max(0, Math.round(x * 100) / 100));
  const chosen = { alpha: round(alpha), beta: round(beta) };
  batch(() => {
    compose(chosen);
    // because: who walks back finds the step at the weights it was left with
    trail.value = trail.value.map((one, i) => (i === at.value ? { ...one, query: { ...one.query, ...chosen } } : one));
  });
  remember(false);
}

/**
 * Changes the question and asks it at once.
 * @param {Partial<Query>} change
 */
export function ask(change) {
  compose(change);
  return search();
}

/** Back to the weights that suit the model. */
export function weighAsModel() {
  return ask({ alpha: null, beta: null });
}

const canSearch = (/** @type {Query} */ q) =>
  (q.reference !== null && !("lost" in q.reference)) || (q.reference === null && q.modifier.trim() !== "");
export const searchable = computed(() => canSearch(draft.value));

let running = new AbortController();
let unanswered = false;
let waiting = 0;

/** Asks the draft's question. It becomes the next step, or takes the place of the step it only refines. */
export async function search() {
  const query = draft.peek();
  if (!canSearch(query)) return;
  running.abort();
  running = new AbortController();
  const { signal: stop } = running;
  batch(() => {
    searching.value = true;
    failure.value = null;
  });
  try {
    const fields = collections.peek().find((one) => one.name === query.collection)?.fields ?? {};
    const answer = await api.search(query, fields, stop);
    performance.mark("answered");
    batch(() => arrived({ query, answer }));
  } catch (error) {
    if (stop.aborted) return;
    searching.value = false;
    unanswered = true;
    refused(error);
  }
}

/** @param {Step} next */
function arrived(next) {
  const before = trail.peek().slice(0, at.peek() + 1);
  const refines = step.peek() !== null && sameTurn(/** @type {Step} */ (step.peek()).query, next.query);
  trail.value = [...(refines ? before.slice(0, -1) : before), next];
  at.value = trail.value.length - 1;
  searching.value = false;
  connection.value = "up";
  unanswered = false;
  const count = Math.min(DRAWN, next.answer?.candidates.length ?? 0);
  say(count ? `${count} results.` : "Nothing was found.");
  remember(!refines);
  // because: on a phone the results are below what asked for them
  if (matchMedia("(max-width: 820px)").matches) requestAnimationFrame(() => document.querySelector(".results")?.scrollIntoView());
}

/**
 * @param {Query} a
 * @param {Query} b
 */
function sameTurn(a, b) {
  const name = (/** @type {Reference | null} */ r) => (!r ? "" : "id" in r ? r.id : "url" in r ? r.url : "");
  return name(a.reference) === name(b.reference) && a.modifier.trim() === b.modifier.trim() && a.collection === b.collection;
}

/**
 * Walks to a step of the conversation; those after it stay until another is asked.
 * @param {number} index
 * @param {boolean} [byHistory]
 */
export function walkTo(index, byHistory = false) {
  const target = trail.peek()[index];
  if (!target) return;
  running.abort();
  batch(() => {
    at.value = index;
    draft.value = target.query;
    searching.value = false;
    failure.value = null;
    view.value = "search";
  });
  say(`Step ${index + 1} of ${trail.peek().length}.`);
  if (!byHistory) remember(true);
}

export function startOver() {
  running.abort();
  batch(() => {
    draft.value = emptyQuery(draft.value.collection);
    trail.value = [];
    at.value = -1;
    searching.value = false;
    failure.value = null;
  });
  remember(true);
}

/** @param {string} name */
export function choose(name) {
  batch(() => {
    startOver();
    draft.value = emptyQuery(name);
  });
  remember(true);
}

/** @param {"search" | "gallery"} which */
export function show(which) {
  view.value = which;
  remember(true);
}

/** @param {string} id */
export async function forget(id) {
  await api.remove(draft.peek().collection, id);
  batch(() => {
    forgotten.value = new Set([...forgotten.value, id]);
    opened.value = null;
  });
  say("The image was deleted.", true);
}

/**
 * An image that was deleted and is submitted again is there again.
 * @param {string} id
 */
export function remembered(id) {
  if (forgotten.peek().has(id)) forgotten.value = new Set([...forgotten.peek()].filter((one) => one !== id));
}

/** @param {unknown} error */
export function refused(error) {
  const known =
    error instanceof api.Refused ? error : new api.Refused({ code: "internal", status: 0, title: String(error), detail: "" });
  if (known.code === "unauthorized") {
    keyWanted.value = true;
  } else if (known.code === "unreachable") {
    lost();
  } else if (known.passing && unanswered && collection.peek()?.images) {
    clearTimeout(waiting);
    waiting = window.setTimeout(retry, 4000);
  }
  failure.value = known;
}

/** The gateway is gone: asks for it until it is back, then asks again what it did not answer. */
function lost() {
  connection.value = "down";
  clearTimeout(waiting);
  waiting = window.setTimeout(retry, 1000);
}

export async function retry() {
  clearTimeout(waiting);
  if (await connect()) {
    say("The gateway answers again.", true);
    if (unanswered && view.peek() === "search") return search();
  }
}

/** Reads the collections; true if the gateway answered. */
export async function connect() {
  try {
    const all = await api.collections();
    batch(() => {
      collections.value = all;
      connection.value = "up";
      keyWanted.value = false;
      failure.value = failure.peek()?.passing || failure.peek()?.code === "unauthorized" ? null : failure.peek();
      if (!draft.value.collection) compose({ collection: (all.find((c) => c.name === "default") ?? all[0])?.name ?? "default" });
    });
    return true;
  } catch (error) {
    refused(error);
    return false;
  }
}

/** @param {string} text */
export async function useKey(text) {
  api.key.set(text.trim());
  if ((await connect()) && searchable.peek() && view.peek() === "search") await search();
}

// because: steps of a page that was closed are not this page's
const visit = `${Date.now()}-${Math.random()}`;
let written = 0;

/**
 * Puts the search into the address: as a new entry of the history, or, soon, in the place of this one.
 * @param {boolean} anew
 */
function remember(anew) {
  clearTimeout(written);
  const write = () => {
    const hash = untracked(() => toHash(view.value, draft.value));
    const state = { visit, step: at.peek() };
    if (anew && hash !== location.hash) history.pushState(state, "", hash);
    else history.replaceState(state, "", hash);
  };
  // because: browsers refuse more than a few hundred changes of the address a minute
  if (anew) write();
  else written = window.setTimeout(write, 200);
}

/** @param {any} state of the history's entry */
function restore(state) {
  const asked = fromHash(location.hash);
  if (state?.visit === visit && asked?.view !== "gallery" && trail.peek()[state.step]) return walkTo(state.step, true);
  batch(() => {
    view.value = asked?.view ?? "search";
    if (asked?.view === "search") {
      draft.value = { ...asked.query, collection: asked.query.collection || draft.value.collection };
      if (!canSearch(asked.query)) at.value = -1;
    } else if (asked?.query.collection) compose({ collection: asked.query.collection });
  });
  if (asked?.view === "search") return search();
}

export async function start() {
  window.addEventListener("popstate", (event) => restore(event.state));
  const asked = fromHash(location.hash);
  if (asked) {
    view.value = asked.view;
    draft.value = asked.query;
  }
  if ((await connect()) && asked?.view === "search") await search();
  window.setInterval(() => {
    if (!document.hidden && connection.peek() === "up" && !keyWanted.peek()) void connect();
  }, 10_000);
}
