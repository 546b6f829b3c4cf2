// The mathematics of the page: what a candidate scores at any α and β, the order that follows, and
// who is first where on the plane. No request is needed for any of it: an explained answer holds a
// few dot products of each candidate, and every score is a combination of them
// (WeiMoCIR, arXiv 2409.04918; README, "Why this score").

/** @import { Component, Components, Norm, Norms, Share, Weighed } from "../types.js" */

/** Points along each side of the map: 0, 0.05, … 1. */
export const SIDE = 21;

/**
 * The factors of reference and modifier at α, over the length of their sum; null where the two
 * cancel each other out. One alone is the query, whatever α says.
 * @param {Norm} norm
 * @param {number} alpha
 * @returns {Share | null}
 */
export function factors(norm, alpha) {
  let reference = 1 - alpha;
  let modifier = alpha;
  if (norm.reference === 0) [reference, modifier] = [0, 1];
  else if (norm.modifier === 0) [reference, modifier] = [1, 0];
  const own = reference * reference * norm.reference + modifier * modifier * norm.modifier;
  const square = own + 2 * reference * modifier * norm.cross;
  // because: what is left of two almost equal numbers is their rounding
  if (!(square > 1e-13 * own)) return null;
  const length = Math.sqrt(square);
  return { reference: reference / length, modifier: modifier / length };
}

/**
 * What makes the factors of every caption slot at α: in text_reference "image" all slots are the
 * image's own.
 * @param {Norms} norms
 * @param {number} alpha
 */
function query(norms, alpha) {
  const image = factors(norms.image, alpha);
  const captions = norms.captions.map((norm) => factors(norm, alpha));
  return { image, captions, cancelled: !image || captions.includes(null) };
}

/**
 * @param {Component} component
 * @param {Share} factor
 * @returns {Share}
 */
const share = (component, factor) => ({
  reference: component.reference * factor.reference,
  modifier: component.modifier * factor.modifier,
});

/** @param {Share} one */
const sum = (one) => one.reference + one.modifier;

/**
 * @param {Components} components
 * @param {ReturnType<typeof query>} at
 * @param {number} beta
 * @returns {Weighed | null}
 */
function weighed(components, at, beta) {
  if (at.cancelled || !at.image) return null;
  const pixels = share(components.image, at.image);
  const own = at.image;
  const shares = components.captions.map((c, r) => share(c, at.captions[r] ?? own));
  const s_img = sum(pixels);
  if (shares.length === 0) return { similarity: Math.fround(s_img), s_img, s_txt: null, pixels, words: null, shares };
  /** @param {"reference" | "modifier"} part */
  const mean = (part) => shares.reduce((all, one) => all + one[part], 0) / shares.length;
  const words = { reference: mean("reference"), modifier: mean("modifier") };
  const s_txt = sum(words);
  return { similarity: similarityOf({ s_img, s_txt }, beta), s_img, s_txt, pixels, words, shares };
}

/**
 * A candidate at (α, β): its similarity as the gateway rounds it, and each part's contribution.
 * Null where reference and modifier cancel each other out.
 * @param {Components} components
 * @param {Norms} norms
 * @param {number} alpha
 * @param {number} beta
 */
export function weigh(components, norms, alpha, beta) {
  // because: the gateway's weights are f32
  return weighed(components, query(norms, Math.fround(alpha)), Math.fround(beta));
}

/**
 * Closest first; equal similarities by ascending id, as the gateway orders them.
 * @param {{ similarity: number, image: string }} a
 * @param {{ similarity: number, image: string }} b
 */
export const closer = (a, b) => b.similarity - a.similarity || (a.image < b.image ? -1 : a.image > b.image ? 1 : 0);

/**
 * The first `count` candidates in the order of (α, β); null where reference and modifier cancel each
 * other out.
 * @template {{ image: string, components: Components }} C
 * @param {C[]} candidates
 * @param {Norms} norms
 * @param {number} alpha
 * @param {number} beta
 * @param {number} [count]
 * @returns {(C & Weighed)[] | null}
 */
export function rank(candidates, norms, alpha, beta, count = candidates.length) {
  const at = query(norms, Math.fround(alpha));
  const b = Math.fround(beta);
  if (at.cancelled) return null;
  const all = candidates.map((c) => ({ c, image: c.image, similarity: similarityOf(endsOf(c.components, at), b) }));
  const first = all.sort(closer).slice(0, count);
  return first.map(({ c }) => ({ ...c, .../** @type {Weighed} */ (weighed(c.components, at, b)) }));
}

/**
 * Who is first at each point of the plane: rows of β from 0 up, in each row α from 0 up; an empty
 * text where reference and modifier cancel each other out.
 * @param {{ image: string, components: Components }[]} candidates
 * @param {Norms} norms
 * @param {number} [side]
 * @returns {string[]} side × side image ids
 */
export function firsts(candidates, norms, side = SIDE) {
  const map = new Array(side * side).fill("");
  for (let column = 0; column < side; column++) {
    const at = query(norms, Math.fround(column / (side - 1)));
    if (at.cancelled || !at.image) continue;
    const ends = candidates.map((c) => ({ image: c.image, ...endsOf(c.components, at) }));
    for (let row = 0; row < side; row++) {
      const beta = Math.fround(row / (side - 1));
      let best = { image: "", similarity: -Infinity };
      for (const end of ends) {
        const { image } = end;
        const similarity = similarityOf(end, beta);
        if (similarity > best.similarity || (similarity === best.similarity && image < best.image)) best = { image, similarity };
      }
      map[row * side + column] = best.image;
    }
  }
  return map;
}

/**
 * @param {{ s_img: number, s_txt: number | null }} ends
 * @param {number} beta
 */
const similarityOf = ({ s_img, s_txt }, beta) => Math.fround(s_txt === null ? s_img : (1 - beta) * s_img + beta * s_txt);

/**
 * What `weighed` says of pixels and captions, without a list of shares for each of thousands of cells.
 * @param {Components} components
 * @param {ReturnType<typeof query>} at
 */
function endsOf(components, at) {
  const own = /** @type {Share} */ (at.image);
  const s_img = components.image.reference * own.reference + components.image.modifier * own.modifier;
  const { captions } = components;
  if (captions.length === 0) return { s_img, s_txt: null };
  let [reference, modifier] = [0, 0];
  captions.forEach((c, r) => {
    const factor = at.captions[r] ?? own;
    reference += c.reference * factor.reference;
    modifier += c.modifier * factor.modifier;
  });
  return { s_img, s_txt: reference / captions.length + modifier / captions.length };
}

/**
 * The cells of `first` on a map, as one SVG path in units of cells with β upwards.
 * @param {string[]} map
 * @param {string} first
 * @param {number} [side]
 */
export function region(map, first, side = SIDE) {
  let path = "";
  for (let row = 0; row < side; row++) {
    for (let start = 0; start < side; start++) {
      if (map[row * side + start] !== first) continue;
      let end = start;
      while (end < side && map[row * side + end] === first) end++;
      path += `M${start} ${side - 1 - row}h${end - start}v1h${start - end}z`;
      start = end;
    }
  }
  return path;
}
