// The two weights: a slider for each, and the map of the (α, β) plane that shows where the first
// result stays first. All of it works on numbers that are here already; nothing is requested.

import { Picture } from "./picture.js";
import { SIDE, region } from "./plane.js";
import { plane, ranked, search, step, unseen, weighAsModel, weighAt, weights } from "./state.js";
import { classes, html, signal, watching } from "./view.js";

/** The point of the map below the pointer. */
const pointed = signal(/** @type {{ alpha: number, beta: number } | null} */ (null));

const last = SIDE - 1;
/** @param {string[]} map @param {{ alpha: number, beta: number }} point */
const firstAt = (map, { alpha, beta }) => map[Math.round(beta * last) * SIDE + Math.round(alpha * last)];

export const Weights = watching(() => {
  const { alpha, beta, chosen } = weights.value;
  return html`<section class=${classes("weights", !step.value && "early")} aria-labelledby="weights-title">
    <div class="row">
      <h2 id="weights-title">Weights</h2>
      ${chosen ? html`<button type="button" class="quiet" onClick=${weighAsModel}>Back to the model's own</button>` : html`<span class="faint">the model's own</span>`}
    </div>
    <${Slider} id="alpha" sign="α" name="words" from="the picture" to="your words" value=${alpha} set=${(/** @type {number} */ a) => weighAt(a, beta)} />
    <${Slider} id="beta" sign="β" name="captions" from="pixels" to="captions" value=${beta} set=${(/** @type {number} */ b) => weighAt(alpha, b)} />
    <${Plane} />
    <${Beyond} />
  </section>`;
});

/** @param {any} props */
const Slider = ({ id, sign, name, from, to, value, set }) => html`<div class=${`slider ${id}`}>
  <label for=${id}><span class="sign">${sign}</span> weight of the ${name}</label>
  <output for=${id}>${value.toFixed(2)}</output>
  <input
    id=${id}
    type="range"
    min="0"
    max="1"
    step="0.01"
    value=${value}
    aria-valuetext=${`${value.toFixed(2)}, between ${from} and ${to}`}
    onInput=${(/** @type {any} */ e) => set(Number(e.currentTarget.value))}
  />
  <span class="end" aria-hidden="true">${from}</span><span class="end" aria-hidden="true">${to}</span>
</div>`;

const Plane = watching(() => {
  const map = plane.value;
  const { alpha, beta } = weights.value;
  const first = ranked.value?.[0]?.image ?? "";
  if (!map || !first) {
    return html`<p class="hint">The map of all weights is drawn with the first results.</p>`;
  }
  const others = [...new Set(map)].filter((id) => id && id !== first);
  const held = map.filter((id) => id === first).length / map.length;
  const share = `${Math.round(held * 100)} %`;
  return html`<figure class="plane">
    <div
      class="field"
      role="slider"
      tabindex="0"
      aria-label="Map of the weights: α to the right, β upwards"
      aria-valuemin="0"
      aria-valuemax="1"
      aria-valuenow=${alpha}
      aria-valuetext=${`α ${alpha.toFixed(2)}, β ${beta.toFixed(2)}; the first result stays first on ${share} of the map`}
      onPointerDown=${press}
      onPointerMove=${move}
      onPointerLeave=${() => (pointed.value = null)}
      onKeyDown=${keyed}
    >
      <svg viewBox=${`0 0 ${SIDE} ${SIDE}`} aria-hidden="true">
        <defs>
          <linearGradient id="ink"><stop offset="0" class="ink-picture" /><stop offset="1" class="ink-words" /></linearGradient>
        </defs>
        ${others.map((id, i) => html`<path key=${id} class=${`other o${i % 4}`} d=${region(map, id)} />`)}
        <path class="mine" fill="url(#ink)" d=${region(map, first)} />
        <text x="0.7" y="1.9">β</text><text x=${SIDE - 1.7} y=${SIDE - 0.8}>α</text>
        <circle class="halo" cx=${alpha * last + 0.5} cy=${(1 - beta) * last + 0.5} r="0.95" />
        <circle class="mark" cx=${alpha * last + 0.5} cy=${(1 - beta) * last + 0.5} r="0.62" />
      </svg>
    </div>
    <figcaption><${Pointed} map=${map} first=${first} share=${share} /></figcaption>
  </figure>`;
});

/** What the map says in words: of the pointer's place, or of the whole. */
const Pointed = watching((/** @type {{ map: string[], first: string, share: string }} */ { map, first, share }) => {
  const there = pointed.value && firstAt(map, pointed.value);
  if (pointed.value && there && there !== first) {
    const at = `α ${pointed.value.alpha.toFixed(2)}, β ${pointed.value.beta.toFixed(2)}`;
    return html`<${Picture} id=${there} size=${128} /><span>would be first at ${at}</span>`;
  }
  return html`<${Picture} id=${first} size=${128} /><span>stays first on the coloured ${share} of the map. Click the map to move both weights.</span>`;
});

const Beyond = watching(() => {
  const count = unseen.value;
  if (!count) return null;
  const answer = step.value?.answer;
  const { alpha, beta } = weights.value;
  const same = answer && Math.fround(alpha) === Math.fround(answer.alpha) && Math.fround(beta) === Math.fround(answer.beta);
  return html`<div class="beyond">
    <p>The sliders order the ${answer?.candidates.length} closest images; ${count.toLocaleString("en")} others were not close enough to be here.</p>
    <button type="button" disabled=${same} onClick=${search}>Search again at these weights</button>
  </div>`;
});

/** @param {PointerEvent} event */
function place(event) {
  const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
  // because: the first and the last cell are centred on 0 and 1
  const along = (/** @type {number} */ part) => Math.min(1, Math.max(0, (part * SIDE - 0.5) / last));
  return { alpha: along((event.clientX - box.left) / box.width), beta: along(1 - (event.clientY - box.top) / box.height) };
}

/** @param {PointerEvent} event */
function press(event) {
  /** @type {Element} */ (event.currentTarget).setPointerCapture(event.pointerId);
  const { alpha, beta } = place(event);
  weighAt(alpha, beta);
}

/** @param {PointerEvent} event */
function move(event) {
  pointed.value = place(event);
  if (event.buttons & 1) weighAt(pointed.value.alpha, pointed.value.beta);
}

const KEYS = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowDown: [0, -1],
  ArrowUp: [0, 1],
  Home: [-last, 0],
  End: [last, 0],
  PageDown: [0, -4],
  PageUp: [0, 4],
});

/** @param {KeyboardEvent} event */
function keyed(event) {
  const by = KEYS[event.key];
  if (!by) return;
  event.preventDefault();
  const size = event.shiftKey ? 0.01 : 1 / last;
  const { alpha, beta } = weights.peek();
  weighAt(alpha + by[0] * size, beta + by[1] * size);
}
