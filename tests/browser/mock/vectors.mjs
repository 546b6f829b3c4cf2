// Made-up embeddings and the search over them, straight from METHOD's formulas: every word has a
// direction of its own, pictures and texts are sums of words, and what is searched is computed.

import { createHash } from "node:crypto";

const DIM = 32;
const LENGTH = { picture: 5, text: 4 };

const directions = new Map();

/** A fixed direction of length 1 for any text, from its digest. */
function direction(word) {
  if (!directions.has(word)) {
    const bytes = createHash("sha512").update(word).digest();
    directions.set(word, unit(Array.from({ length: DIM }, (_, i) => bytes.readInt16LE(2 * (i % 32)) / 32768)));
  }
  return directions.get(word);
}

const dot = (a, b) => a.reduce((all, x, i) => all + x * b[i], 0);
const norm = (a) => Math.sqrt(dot(a, a));
const unit = (a) => a.map((x) => x / norm(a));
const plus = (a, b, factor = 1) => a.map((x, i) => x + factor * b[i]);
const f32 = (a) => a.map(Math.fround);

function sum(text, kind, salt) {
  const words = text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const noise = direction(`${kind} ${salt}`).map((x) => 0.55 * x);
  const all = words.reduce((to, word) => plus(to, direction(word)), noise);
  return f32(unit(all).map((x) => x * LENGTH[kind]));
}

export const ofPicture = (words, id) => sum(words, "picture", id);
export const ofText = (text) => sum(text, "text", text);

function component(x, m, y) {
  const towards = unit(y);
  return { reference: x ? dot(x, towards) : 0, modifier: m ? dot(m, towards) : 0 };
}

function normOf(x, m) {
  return { reference: x ? dot(x, x) : 0, cross: x && m ? dot(x, m) : 0, modifier: m ? dot(m, m) : 0 };
}

function fuse(x, m, alpha) {
  if (!x || !m) return unit(x ?? m);
  return unit(x.map((value, i) => (1 - alpha) * value + alpha * m[i]));
}

/**
 * Candidates of images `{id, vector, texts: [vector]}`, closest first, by α and β as f32.
 * `captions` are the reference's own in text_reference "caption", else null.
 */
export function search({ reference, modifier, captions, images, alpha, beta, k, explain }) {
  const [a, b] = [Math.fround(alpha), Math.fround(beta)];
  const q = fuse(reference, modifier, a);
  const slots = captions?.map((t) => fuse(t, modifier, a));
  const all = images.map((image) => {
    const texts = slots ? image.texts.slice(0, slots.length) : image.texts;
    const s_img = dot(q, unit(image.vector));
    const each = texts.map((t, r) => dot(slots ? slots[r] : q, unit(t)));
    const s_txt = each.length ? each.reduce((x, y) => x + y, 0) / each.length : null;
    const similarity = Math.fround(s_txt === null ? s_img : (1 - b) * s_img + b * s_txt);
    const components = {
      image: component(reference, modifier, image.vector),
      captions: texts.map((t, r) => component(captions?.[r] ?? reference, modifier, t)),
    };
    return { image: image.id, similarity, s_img: Math.fround(s_img), s_txt, each, ...(explain && { components }) };
  });
  all.sort((x, y) => y.similarity - x.similarity || (x.image < y.image ? -1 : 1));
  const norms = { image: normOf(reference, modifier), captions: captions?.map((t) => normOf(t, modifier)) ?? [] };
  return { candidates: all.slice(0, k), norms };
}

/** What is not wanted and what was marked moves the modifier. */
export function moved(modifier, { negative, gamma, more, less }) {
  let m = modifier ?? new Array(DIM).fill(0);
  if (negative) m = plus(m, negative, -gamma);
  for (const one of more) m = plus(m, one, 0.4 / more.length);
  for (const one of less) m = plus(m, one, -0.4 / less.length);
  return norm(m) > 0 ? f32(m) : null;
}
