// Files on their way into the gallery: sent in small groups, then followed by the collection's
// events until each is captioned, or failed with a reason.

/** @import { Arrival, ImageState } from "../types.js" */

import * as api from "./api.js";
import { connect, draft, refused, say } from "./state.js";
import { batch, signal } from "./view.js";

// because: a group is one request, and its pictures show that they arrived when it is answered
const GROUP = 4;
const FINAL = ["captioned", "present", "failed", "refused"];

/** @type {import("@preact/signals-core").Signal<Arrival[]>} newest first */
export const arrivals = signal([]);
let keys = 0;

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
  const all = [...files].map((file) => ({ file, key: ++keys }));
  arrivals.value = [...all.map(({ file, key }) => arrival(file, key)).reverse(), ...arrivals.value];
  say(`${all.length} ${all.length === 1 ? "file is" : "files are"} on the way into ${collection}.`);
  const pictures = all.filter(({ file }) => file.type.startsWith("image/"));
  for (let i = 0; i < pictures.length; i += GROUP) await send(collection, pictures.slice(i, i + GROUP));
  void connect();
}

/**
 * @param {File} file
 * @param {number} key
 * @returns {Arrival}
 */
function arrival(file, key) {
  const picture = file.type.startsWith("image/");
  return {
    key,
    name: file.name,
    url: picture ? URL.createObjectURL(file) : "",
    id: null,
    state: picture ? "sending" : "refused",
    reason: picture ? "" : "it is no picture",
  };
}

/**
 * @param {string} collection
 * @param {{ file: File, key: number }[]} group
 */
async function send(collection, group) {
  try {
    const outcomes = await api.submit(collection, group.map(({ file }) => file));
    batch(() => group.forEach(({ key }, i) => decided(key, outcomes[i])));
    void follow(collection, group.map(({ key }) => key));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    batch(() => group.forEach(({ key }) => change(key, { state: "failed", reason })));
    refused(error);
  }
}

/**
 * @param {number} key
 * @param {{ id: string | null, outcome: string, reason?: string } | undefined} outcome
 */
function decided(key, outcome) {
  /** @type {ImageState} */
  const state =
    outcome?.outcome === "refused" ? "refused" : outcome?.outcome === "present" ? "present" : outcome ? "waiting" : "failed";
  change(key, { id: outcome?.id ?? null, state, reason: outcome?.reason ?? "" });
}

/**
 * @param {string} collection
 * @param {number[]} group
 */
async function follow(collection, group) {
  const open = () => arrivals.peek().filter((one) => group.includes(one.key) && one.id && !FINAL.includes(one.state));
  let pause = 500;
  while (open().length) {
    try {
      const ids = open().map((one) => /** @type {string} */ (one.id));
      await api.events(collection, ids, new AbortController().signal, (event, data) => {
        if (event !== "image") return;
        pause = 500;
        for (const { key } of open().filter((one) => one.id === data.id)) {
          change(key, { state: data.state, reason: data.reason ?? "" });
        }
      });
    } catch (error) {
      if (error instanceof api.Refused && !error.passing) return refused(error);
    }
    // because: a stream may be cut; what it would have said is told by the next one
    if (open().length) await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 5000);
  }
  const reached = arrivals.peek().filter((one) => group.includes(one.key) && one.state === "captioned").length;
  if (reached) say(`${reached} more ${reached === 1 ? "image is" : "images are"} searchable and captioned.`);
  void connect();
}

/** Puts away those that have arrived; what failed stays until it was read. */
export function clearArrivals() {
  for (const one of arrivals.peek()) if (FINAL.includes(one.state) && one.url) URL.revokeObjectURL(one.url);
  arrivals.value = arrivals.peek().filter((one) => !FINAL.includes(one.state));
}
