// What the filter's controls say, as the gateway wants it (README, "Filters").

/** @import { FilterValues, Kind } from "../types.js" */

/**
 * The filter of the controls' values, or null where they say nothing.
 * @param {FilterValues} values
 * @param {Record<string, Kind>} fields
 */
export function filterOf(values, fields) {
  const tests = Object.entries(fields).flatMap(([field, kind]) => test(field, kind, values[field] ?? {}));
  return tests.length === 0 ? null : tests.length === 1 ? tests[0] : { and: tests };
}

/**
 * @param {string} field
 * @param {Kind} kind
 * @param {FilterValues[string]} value
 * @returns {object[]}
 */
function test(field, kind, { is = "", from = "", to = "" }) {
  if (kind === "keyword") return is ? [{ field, is }] : [];
  if (kind === "boolean") return is ? [{ field, is: is === "true" }] : [];
  const range = {
    ...(from && { gte: bound(kind, from) }),
    ...(to && { lte: bound(kind, to) }),
  };
  return Object.keys(range).length ? [{ field, range }] : [];
}

/**
 * @param {Kind} kind
 * @param {string} text
 */
const bound = (kind, text) => (kind === "timestamp" ? new Date(text).toISOString() : Number(text));
