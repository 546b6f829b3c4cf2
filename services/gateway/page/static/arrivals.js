// Files on their way into the gallery: sent in small groups, then followed by the collection's
// events until each is captioned, or failed with a reason.

/** @import { Arrival, ImageState } from "../types.js" */

import * as api from "./api.js";
import { connect, draft, refused, remembered, say } from "./state.js";
import { batch, signal } from "./view.js";

// because: a group is one request, and its pictures are shown as arrived when it is answered
const GROUP = 4;
// because: their ids are in the address of one request
const MOST = 100;
/** Milliseconds from the end of a stream to the next. */
const PAUSE = 300;
const FINAL = ["captioned", "present", "failed", "refused"];

/** @type {import("@preact/signals-core").Signal<Arrival[]>} newest first */
export const arrivals = signal([]);
let keys = 0;

/**
 * Whether nothing more becomes of it; what is searchable and has a reason gets no captions.
 * @param {Arrival} one
 */
export const isFinal = ({ state, reason }) => FINAL.includes(state) || (state === "searchable" && reason !== "");

/**
 * @param {number} key
 * @param {Partial<Arrival>} change
 */
const change = (key, change) => {
  arrivals.value = arrivals.value.map((one) => (one.key === key ? { ...one, ...change } : one));
};

/** @param {Iterable<File>} files */
export async function ingest(files) {
  const { collection } = draft.peek();
  const all = [...files].map((file) => arrival(file, collection));
  arrivals.value = [...all.toReversed(), ...arrivals.peek()];
  say(`${all.length} ${all.length === 1 ? "file is" : "files are"} on the way into ${collection}.`);
  await sendAll(all.filter((one) => one.state === "sending"));
}

/** Sends again what the gateway did not answer. */
export function resend() {
  const again = arrivals.peek().filter(isUnsent);
  for (const { key } of again) change(key, { state: "sending", reason: "" });
  return sendAll(again.toReversed());
}

/** @param {Arrival} one */
export const isUnsent = (one) => one.state === "failed" && one.id === null;

/**
 * @param {File} file
 * @param {string} collection
 * @returns {Arrival}
 */
function arrival(file, collection) {
  const picture = file.type.startsWith("image/");
  return {
    key: ++keys,
    file,
    collection,
    name: file.name,
    url: picture ? URL.createObjectURL(file) : "",
    id: null,
    state: picture ? "sending" : "refused",
    reason: picture ? "" : "it is no picture",
  };
}

/** @param {Arrival[]} all */
async function sendAll(all) {
  for (const name of new Set(all.map((one) => one.collection))) {
    const own = all.filter((one) => one.collection === name);
    for (let i = 0; i < own.length; i += GROUP) await send(own.slice(i, i + GROUP));
  }
}

/** @param {Arrival[]} group all of one collection */
async function send(group) {
  const { collection } = group[0];
  try {
    const outcomes = await api.submit(collection, group.map(({ file }) => file));
    const decidedOnes = group.slice(0, Math.max(1, outcomes.length));
    batch(() => decidedOnes.forEach(({ key }, i) => decided(key, outcomes[i])));
    void follow(collection);
    // because: a file that is too large ends its form, and those behind it were not read
    const rest = group.slice(decidedOnes.length);
    if (rest.length) await send(rest);
  } catch (error) {
    const code = error instanceof api.Refused ? error.code : "";
    if (code === "too_large" && group.length > 1) return sendOneByOne(group);
    const reason = error instanceof Error ? error.message : String(error);
    batch(() => group.forEach(({ key }) => change(key, { state: "failed", reason })));
    if (["unreachable", "unauthorized"].includes(code)) refused(error);
  }
}

/** @param {Arrival[]} group */
async function sendOneByOne(group) {
  for (const one of group) await send([one]);
}

/**
 * @param {number} key
 * @param {{ id: string | null, outcome: string, reason?: string } | undefined} outcome
 */
function decided(key, outcome) {
  /** @type {ImageState} */
  const state =
    outcome?.outcome === "refused" ? "refused" : outcome?.outcome === "present" ? "present" : outcome ? "waiting" : "failed";
  if (outcome?.id && state === "waiting") remembered(outcome.id);
  change(key, { id: outcome?.id ?? null, state, reason: outcome?.reason ?? "" });
}

/** By collection, what ends the stream of events that is read now, so that another takes in new ids. */
const streams = /** @type {Map<string, AbortController>} */ (new Map());

/**
 * Follows all that are on their way, by one stream of events: a browser has few connections to one
 * place, and uploads need them.
 * @param {string} collection
 */
async function follow(collection) {
  if (streams.has(collection)) return streams.get(collection)?.abort();
  const open = () => arrivals.peek().filter((one) => one.collection === collection && one.id && !isFinal(one)).slice(-MOST);
  let pause = PAUSE;
  while (open().length) {
    const stream = new AbortController();
    streams.set(collection, stream);
    try {
      await api.events(collection, open().map((one) => /** @type {string} */ (one.id)), stream.signal, (event, data) => {
        if (event === "image") told(data);
        pause = PAUSE;
      });
    } catch (error) {
      if (!stream.signal.aborted && error instanceof api.Refused && !error.passing) {
        refused(error);
        break;
      }
    }
    // because: a stream may be cut; what it would have said is told by the next one
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 5000);
  }
  streams.delete(collection);
  void connect();
}

/** @param {{ id: string, state: ImageState, reason?: string }} image */
function told({ id, state, reason = "" }) {
  for (const one of arrivals.peek()) if (one.id === id && !isFinal(one)) change(one.key, { state, reason });
}

/** Puts away those that have arrived; what failed stays until it was read. */
export function clearArrivals() {
  for (const one of arrivals.peek()) if (isFinal(one) && one.url) URL.revokeObjectURL(one.url);
  arrivals.value = arrivals.peek().filter((one) => !isFinal(one));
}
