// What the page says to the gateway: requests with the reader's key, problems as errors, event
// streams. Addresses are relative, so the page also works below a path.

/** @import { Answer, Collection, Image, Problem, Query } from "../types.js" */

import { filterOf } from "./filters.js";

const KEY = "weimocir-key";

/** Candidates that are asked for: re-weighing chooses among these. */
export const POOL = 300;

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  /** @param {string} text */
  set: (text) => sessionStorage.setItem(KEY, text),
};

/** What the gateway refused, or that it did not answer at all (code `unreachable`). */
export class Refused extends Error {
  /**
   * @param {Problem} problem
   * @param {any} [body]
   */
  constructor(problem, body) {
    super(problem.detail || problem.title);
    this.code = problem.code;
    this.status = problem.status;
    this.body = body;
  }

  /** Whether the gateway may well answer later without anybody changing anything. */
  get passing() {
    return ["unreachable", "unavailable", "busy", "timeout", "rate_limited"].includes(this.code);
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
async function ask(path, init = {}) {
  const headers = new Headers(init.headers);
  if (key.get()) headers.set("Authorization", `Bearer ${key.get()}`);
  let response;
  try {
    response = await fetch(`v1/${path}`, { ...init, headers });
  } catch (error) {
    throw init.signal?.aborted ? error : unreachable();
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

const unreachable = () => new Refused({ code: "unreachable", status: 0, title: "", detail: "The gateway does not answer." });

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
async function json(path, init) {
  const response = await ask(path, init);
  try {
    return await response.json();
  } catch (error) {
    // because: an answer that was cut is none
    throw init?.signal?.aborted ? error : unreachable();
  }
}

/** @param {Response} response */
async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  // because: a proxy in front answers for a gateway that is gone
  const code = body.code ?? (response.status >= 502 ? "unreachable" : response.status === 401 ? "unauthorized" : "internal");
  const title = body.title ?? `The gateway answered with status ${response.status}.`;
  return new Refused({ code, status: response.status, title, detail: body.detail ?? "" }, body);
}

/** @param {string} name */
const at = (name) => `collections/${encodeURIComponent(name)}`;

/** @returns {Promise<Collection[]>} */
export const collections = async () => (await json("collections")).collections;

/**
 * @param {string} collection
 * @param {number} limit
 * @param {string | null} cursor
 * @returns {Promise<{ images: Image[], next: string | null }>}
 */
export async function images(collection, limit, cursor) {
  const from = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
  return json(`${at(collection)}/images?limit=${limit}${from}`);
}

/**
 * @param {string} collection
 * @param {string} id
 */
export const remove = (collection, id) => ask(`${at(collection)}/images/${encodeURIComponent(id)}`, { method: "DELETE" });

/**
 * @param {string} collection
 * @param {File[]} files
 * @returns {Promise<{ source: string, id: string | null, outcome: string, reason?: string }[]>} in the order of the files
 */
export async function submit(collection, files) {
  const form = new FormData();
  for (const file of files) form.append("image", file, file.name);
  try {
    return (await json(`${at(collection)}/images`, { method: "POST", body: form })).images;
  } catch (error) {
    // because: if all are refused, the problem tells of each
    if (error instanceof Refused && Array.isArray(error.body?.images)) return error.body.images;
    throw error;
  }
}

/**
 * @param {Query} query
 * @param {import("../types.js").Collection["fields"]} fields
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>}
 */
export async function search(query, fields, signal) {
  const filter = filterOf(query.filter, fields);
  const request = {
    collection: query.collection,
    k: POOL,
    explain: true,
    text_reference: query.textReference,
    ...(query.modifier.trim() && { modifier: query.modifier.trim() }),
    ...(query.alpha !== null && { alpha: query.alpha }),
    ...(query.beta !== null && { beta: query.beta }),
    ...(query.negative.trim() && { negative: query.negative.trim(), gamma: query.gamma }),
    ...(query.more.length && { more_like: query.more }),
    ...(query.less.length && { less_like: query.less }),
    ...(filter && { filter }),
  };
  const { reference } = query;
  if (reference && "file" in reference) {
    const form = new FormData();
    form.append("request", new Blob([JSON.stringify(request)], { type: "application/json" }));
    form.append("reference", reference.file, reference.name);
    return json("search", { method: "POST", body: form, signal });
  }
  const body = JSON.stringify({ ...request, ...(reference && "id" in reference && { reference: { id: reference.id } }) });
  return json("search", { method: "POST", body, signal, headers: { "Content-Type": "application/json" } });
}

/**
 * Where a picture of the gallery is found: its file, or a thumbnail no longer than `size`.
 * @param {string} id
 * @param {number} [size]
 */
export const picturePath = (id, size) => `images/${encodeURIComponent(id)}/${size ? `thumbnail?size=${size}` : "file"}`;

/** @param {string} path */
export const bytes = async (path) => (await ask(path)).blob();

/**
 * Follows a collection's events until the stream ends; read by fetch, because EventSource sends no key.
 * @param {string} collection
 * @param {string[]} ids
 * @param {AbortSignal} signal
 * @param {(event: string, data: any) => void} each
 */
export async function events(collection, ids, signal, each) {
  const asked = ids.map((id) => `id=${encodeURIComponent(id)}`).join("&");
  const response = await ask(`${at(collection)}/events?${asked}`, { signal, headers: { Accept: "text/event-stream" } });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw signal.aborted ? error : unreachable();
    });
    if (done) return;
    text += decoder.decode(value, { stream: true }).replaceAll("\r", "");
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) dispatch(part, each);
  }
}

/**
 * @param {string} part
 * @param {(event: string, data: any) => void} each
 */
function dispatch(part, each) {
  /** @param {string} name */
  const of = (name) =>
    part
      .split("\n")
      .filter((line) => line.startsWith(`${name}:`))
      .map((line) => line.slice(name.length + 1).trimStart())
      .join("\n");
  const data = of("data");
  // because: comments keep a stream alive and say nothing
  if (!data && !of("event")) return;
  each(of("event") || "message", data ? JSON.parse(data) : null);
}
