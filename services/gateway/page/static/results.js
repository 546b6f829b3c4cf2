// What was found: the conversation's steps, the results as cards, and every state without results.

/** @import { Candidate, Share, Step, Weighed } from "../types.js" */

import { newest } from "./gallery.js";
import { Icon } from "./icons.js";
import { Picture } from "./picture.js";
import { DRAWN, at, collection, connection, continueWith, draft, failure, judge, opened, ranked, retry, search, searchFrom, searching, show, step, trail, walkTo, weights } from "./state.js";
import { classes, html, watching } from "./view.js";

/** @param {number} x */
const figure = (x) => x.toFixed(3).replace("-", "−");

export const Results = watching(() => html`<section class="results" aria-label="Results" aria-busy=${searching.value}>
  <${Trail} />
  <${Trouble} />
  <${Body} />
</section>`);

const Trail = watching(() => {
  if (trail.value.length === 0) return null;
  return html`<nav class="trail" aria-label="Steps of this search">
    <ol>
      ${trail.value.map(
        (one, i) => html`<li key=${i}>
          <button type="button" class=${classes(i > at.value && "later")} aria-current=${i === at.value ? "step" : undefined} onClick=${() => walkTo(i)}>
            <${StepPicture} step=${one} /><span>${one.query.modifier.trim() || "like this"}</span>
          </button>
        </li>`,
      )}
    </ol>
  </nav>`;
});

/** @param {{ step: Step }} props */
function StepPicture({ step: { query } }) {
  const { reference } = query;
  if (!reference || "lost" in reference) return null;
  return "id" in reference ? html`<${Picture} id=${reference.id} size=${128} />` : html`<img class="picture" src=${reference.url} alt="" />`;
}

const Trouble = watching(() => {
  const error = failure.value;
  if (connection.value === "down") {
    return html`<div class="notice error" role="alert">
      <${Icon} name="warn" />
      <p><strong>The gateway does not answer.</strong> This page asks again by itself and goes on when it is back.</p>
      <button type="button" onClick=${retry}>Try now</button>
    </div>`;
  }
  if (!error || error.code === "unauthorized") return null;
  return html`<div class="notice error" role="alert">
    <${Icon} name="warn" />
    <p><strong>This search was not answered.</strong> ${error.message}</p>
    ${(error.passing || error.status >= 500) && html`<button type="button" onClick=${search}>Try again</button>`}
  </div>`;
});

const Body = watching(() => {
  const results = ranked.value;
  if (!step.value) return searching.value ? html`<${Skeleton} />` : html`<${Welcome} />`;
  if (!results) return html`<p class="nothing">Picture and words cancel each other out at α ${weights.value.alpha.toFixed(2)}. Move the slider.</p>`;
  return html`<${Summary} />
    ${results.length === 0 && html`<div class="nothing"><p><strong>Nothing was found.</strong></p><p>${Object.keys(draft.value.filter).length ? "No image meets the filter." : "There is nothing to compare with yet."}</p></div>`}
    <ol class=${classes("cards", searching.value && "stale")}>
      ${cards(results)}
    </ol>`;
});

/** @param {(Candidate & Weighed)[]} results */
function cards(results) {
  const range = extent(results);
  const { more, less } = draft.value;
  return results.map((one, i) => {
    const judged = more.includes(one.image) ? "more" : less.includes(one.image) ? "less" : "";
    return html`<${Card} key=${one.image} ...${{ one, place: i + 1, range, judged }} />`;
  });
}

const Summary = watching(() => {
  const answer = step.value?.answer;
  if (!answer) return null;
  // because: the page asks for a whole pool; that a small gallery has fewer is no news
  const warnings = answer.warnings.filter((text) => !/^k is \d+, and the collection has/.test(text));
  const shown = Math.min(DRAWN, answer.candidates.length);
  return html`<div class="summary">
      <p>${shown} closest of ${answer.images.toLocaleString("en")} images <span class="faint">in ${answer.took_ms.toFixed(0)} ms</span></p>
      <p class="legend"><span class="ink picture-ink"></span> the picture's share <span class="ink words-ink"></span> your words' share</p>
    </div>
    ${answer.partial &&
    html`<div class="notice" role="status"><${Icon} name="warn" /><p><strong>A part of the gallery did not answer</strong> (${missing(answer.missing_shards)}). These are the closest of the others.</p><button type="button" onClick=${search}>Search again</button></div>`}
    ${warnings.map((text) => html`<div class="notice" role="status" key=${text}><${Icon} name="warn" /><p>${text[0]?.toUpperCase()}${text.slice(1)}.</p></div>`)}`;
});

/** @param {number[]} shards */
const missing = (shards) => `${shards.length === 1 ? "shard" : "shards"} ${shards.join(", ")}`;

/** @param {{ one: Candidate & Weighed, place: number, range: [number, number], judged: string }} props */
function Card({ one, place, range, judged }) {
  const name = one.captions[0]?.text ?? one.source;
  return html`<li class=${classes("card", judged && `judged-${judged}`)}>
    <button type="button" class="open" aria-label=${`Details of result ${place}: ${name}`} onClick=${() => (opened.value = one.image)}>
      <${Picture} id=${one.image} size=${384} alt="" eager=${place < 9} />
    </button>
    <div class="acts">
      <button type="button" class="act wide" aria-label=${`Search on from result ${place}`} title="Search on from this" onClick=${() => continueWith(one.image)}><${Icon} name="start" /><span>Search on</span></button>
      <button type="button" class="act" aria-pressed=${judged === "more"} aria-label=${`More like result ${place}`} title="More like this" onClick=${() => judge(one.image, "more")}><${Icon} name="more" /></button>
      <button type="button" class="act" aria-pressed=${judged === "less"} aria-label=${`Not like result ${place}`} title="Not this" onClick=${() => judge(one.image, "less")}><${Icon} name="less" /></button>
    </div>
    <p class="score"><span class="place">${place}</span><span class="similarity">${figure(one.similarity)}</span></p>
    <dl class="parts">
      <${Part} name="pixels" share=${one.pixels} range=${range} />
      <${Part} name="captions" share=${one.words} range=${range} />
    </dl>
    <${Captions} one=${one} />
  </li>`;
}

/** @param {{ one: Candidate & Weighed }} props */
export function Captions({ one }) {
  if (one.captions.length === 0) return html`<p class="caption none">no captions yet: scored by its pixels</p>`;
  return html`<ul class="captions">
    ${one.captions.map((caption, r) => {
      const share = one.shares[r];
      return html`<li key=${r}><span title=${caption.text}>${caption.text}</span><data>${share ? figure(share.reference + share.modifier) : "–"}</data></li>`;
    })}
  </ul>`;
}

/**
 * A similarity as a bar of two inks, from zero: what the picture and what the words gave.
 * @param {{ name: string, share: Share | null, range: [number, number] }} props
 */
export function Part({ name, share, range: [low, high] }) {
  if (!share) return html`<div class="part"><dt>${name}</dt><dd class="faint">–</dd></div>`;
  const along = (/** @type {number} */ x) => ((x - low) / (high - low)) * 100;
  const { reference, modifier } = share;
  const apart = reference < 0 !== modifier < 0;
  const from = apart ? 0 : reference;
  const bar = (/** @type {number} */ a, /** @type {number} */ b, /** @type {string} */ ink) =>
    html`<rect class=${ink} x=${Math.min(along(a), along(b))} y="0" width=${Math.abs(along(b) - along(a))} height="6" />`;
  return html`<div class="part">
    <dt>${name}</dt>
    <dd>
      <svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=${`picture ${figure(reference)}, words ${figure(modifier)}`}>
        ${bar(0, reference, "picture-ink")}${bar(from, from + modifier, "words-ink")}
        <rect class="zero" x=${along(0) - 0.3} y="0" width="0.6" height="6" />
      </svg>
      <data>${figure(reference + modifier)}</data>
    </dd>
  </div>`;
}

/**
 * The least and the greatest that any bar reaches, zero included.
 * @param {Weighed[]} results
 * @returns {[number, number]}
 */
export function extent(results) {
  const shares = results.flatMap((one) => (one.words ? [one.pixels, one.words] : [one.pixels]));
  const ends = shares.flatMap(({ reference, modifier }) => [reference, modifier, reference + modifier]);
  return [Math.min(0, ...ends), Math.max(0.05, ...ends)];
}

const Skeleton = () => html`<ol class="cards skeleton" aria-hidden="true">
  ${Array.from({ length: 10 }, (_, i) => html`<li class="card" key=${i}><span class="open"><span class="picture"></span></span><p class="score"></p></li>`)}
</ol>`;

/** @param {string} id */
function begin(id) {
  void searchFrom(id);
  document.getElementById("modifier")?.focus();
}

const Welcome = watching(() => {
  if (connection.value === "starting") return html`<${Skeleton} />`;
  const images = newest.value.slice(0, 24);
  if (connection.value === "up" && !collection.value?.images) {
    return html`<div class="nothing">
      <p><strong>${draft.value.collection} has no images yet.</strong></p>
      <p>Add some, and they can be searched as they arrive.</p>
      <button type="button" class="primary" onClick=${() => show("gallery")}><${Icon} name="upload" /> Add pictures</button>
    </div>`;
  }
  return html`<div class="welcome">
    <h1>Like this, but…</h1>
    <p>Show a picture and say what should differ. Drop one anywhere, or start from one of these.</p>
    <ul class="strip">
      ${images.map((one) => html`<li key=${one.id}><button type="button" aria-label=${`Start from: ${one.captions[0] ?? one.source}`} onClick=${() => begin(one.id)}><${Picture} id=${one.id} size=${256} /></button></li>`)}
    </ul>
  </div>`;
});
