// A search as the part of an address after `#`, and back. A picture of the reader's own cannot be
// in it: the link says only that there was one.

/** @import { Query } from "../types.js" */

export const GAMMA = 0.3;

/**
 * @param {string} collection
 * @returns {Query}
 */
export const emptyQuery = (collection) => ({
  collection,
  reference: null,
  modifier: "",
  alpha: null,
  beta: null,
  textReference: "image",
  negative: "",
  gamma: GAMMA,
  more: [],
  less: [],
  filter: {},
});

/**
 * @param {"search" | "gallery"} view
 * @param {Query} query
 */
export function toHash(view, query) {
  const said = new URLSearchParams({ in: query.collection });
  if (view === "gallery") return `#gallery?${said}`;
  /** @type {[string, string | null | false][]} */
  const parts = [
    ["like", query.reference && ("id" in query.reference ? query.reference.id : "upload")],
    ["but", query.modifier.trim()],
    ["alpha", query.alpha !== null && String(query.alpha)],
    ["beta", query.beta !== null && String(query.beta)],
    ["captions", query.textReference === "caption" && "own"],
    ["without", query.negative.trim()],
    ["gamma", query.negative.trim() !== "" && query.gamma !== GAMMA && String(query.gamma)],
    ["more", query.more.join(" ")],
    ["less", query.less.join(" ")],
    ["filter", Object.keys(query.filter).length > 0 && JSON.stringify(query.filter)],
  ];
  for (const [name, value] of parts) if (value) said.set(name, value);
  return `#search?${said}`;
}

/**
 * @param {string} hash
 * @returns {{ view: "search" | "gallery", query: Query } | null} null if it says nothing
 */
export function fromHash(hash) {
  const [, view, rest] = hash.match(/^#(search|gallery)(?:\?(.*))?$/) ?? [];
  if (view !== "search" && view !== "gallery") return null;
  const said = new URLSearchParams(rest ?? "");
  const like = said.get("like");
  const query = emptyQuery(said.get("in") ?? "");
  query.reference = !like ? null : like === "upload" ? { lost: true } : { id: like };
  query.modifier = said.get("but") ?? "";
  query.alpha = weight(said.get("alpha"));
  query.beta = weight(said.get("beta"));
  query.textReference = said.get("captions") === "own" ? "caption" : "image";
  query.negative = said.get("without") ?? "";
  query.gamma = weight(said.get("gamma")) ?? GAMMA;
  query.more = ids(said.get("more"));
  query.less = ids(said.get("less"));
  query.filter = object(said.get("filter"));
  return { view, query };
}

/** @param {string | null} text */
function weight(text) {
  const value = text ? Number(text) : NaN;
  return value >= 0 && value <= 1 ? value : null;
}

/** @param {string | null} text */
const ids = (text) => (text ?? "").split(" ").filter(Boolean);

/** @param {string | null} text */
function object(text) {
  try {
    const value = JSON.parse(text ?? "{}");
    const sound = value && typeof value === "object" && Object.values(value).every((one) => one && typeof one === "object");
    return sound ? value : {};
  } catch {
    return {};
  }
}
