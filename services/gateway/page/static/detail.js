// One image in full: the whole picture, why it scores what it scores, its metadata, and what can be
// done with it.

/** @import { Candidate, Image, Weighed } from "../types.js" */

import * as api from "./api.js";
import { newest } from "./gallery.js";
import { Icon } from "./icons.js";
import { Picture } from "./picture.js";
import { Captions, Part, extent } from "./results.js";
import { continueWith, draft, forget, judge, opened, ranked, refused, view, weights } from "./state.js";
import { Component, createRef, html, signal, watching } from "./view.js";

const asking = signal(false);

/** The ids that the arrows walk through. */
const order = () => (view.value === "gallery" ? newest.value.map((one) => one.id) : (ranked.value ?? []).map((one) => one.image));

/** @param {number} by */
function step(by) {
  const all = order();
  const to = all[all.indexOf(opened.peek() ?? "") + by];
  if (to) opened.value = to;
}

const close = () => {
  opened.value = null;
  asking.value = false;
};

/** A dialog that is open while it is drawn. */
class Dialog extends Component {
  dialog = createRef();
  componentDidMount() {
    this.dialog.current.showModal();
  }
  /** @param {any} props */
  render({ children, label, onKeyDown }) {
    const outside = (/** @type {any} */ event) => event.target === this.dialog.current && close();
    return html`<dialog class="detail" ref=${this.dialog} aria-label=${label} onClose=${close} onClick=${outside} onKeyDown=${onKeyDown}>${children}</dialog>`;
  }
}

/** @param {KeyboardEvent} event */
function keyed(event) {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
}

export const Detail = watching(() => {
  const id = opened.value;
  if (!id) return null;
  const result = view.value === "search" ? ranked.value?.find((one) => one.image === id) : undefined;
  const image = newest.value.find((one) => one.id === id);
  const place = order().indexOf(id);
  return html`<${Dialog} label="Details of an image" onKeyDown=${keyed}>
    <div class="whole"><${Picture} id=${id} alt=${result?.captions[0]?.text ?? image?.captions[0] ?? "The image"} eager /></div>
    <div class="about">
      <div class="row">
        <button type="button" class="icon-only" aria-label="The one before" disabled=${place <= 0} onClick=${() => step(-1)}><${Icon} name="back" /></button>
        <span class="faint">${place >= 0 && `${place + 1} of ${order().length}`}</span>
        <button type="button" class="icon-only" aria-label="The next one" disabled=${place < 0 || place >= order().length - 1} onClick=${() => step(1)}><${Icon} name="forward" /></button>
        <button type="button" class="icon-only last" aria-label="Close" onClick=${close}><${Icon} name="close" /></button>
      </div>
      ${result ? html`<${Why} one=${result} />` : html`<${Plain} image=${image} />`}
      <${Acts} id=${id} scored=${result !== undefined} />
    </div>
  <//>`;
});

/** @param {{ one: Candidate & Weighed }} props */
function Why({ one }) {
  const { beta } = weights.value;
  const range = extent([one]);
  return html`<h2>Similarity ${one.similarity.toFixed(4)}</h2>
    <dl class="parts">
      <${Part} name="pixels" share=${one.pixels} range=${range} /><${Part} name="captions" share=${one.words} range=${range} />
    </dl>
    ${one.words && html`<p class="faint">${(1 - beta).toFixed(2)} of the pixels and ${beta.toFixed(2)} of the captions.</p>`}
    <h3>Captions</h3>
    <${Captions} one=${one} />
    <${Metadata} source=${one.source} metadata=${one.metadata} />`;
}

/** @param {{ image: Image | undefined }} props */
function Plain({ image }) {
  if (!image) return null;
  return html`<h2>${image.captions[0] ?? image.source}</h2>
    ${image.captions.length > 1 && html`<ul class="captions">${image.captions.slice(1).map((text) => html`<li><span>${text}</span></li>`)}</ul>`}
    <${Metadata} source=${image.source} metadata=${image.metadata} />`;
}

/** @param {{ source: string, metadata: Record<string, unknown> }} props */
const Metadata = ({ source, metadata }) => html`<dl class="metadata">
  <dt>source</dt><dd>${source}</dd>
  ${Object.entries(metadata ?? {}).map(([name, value]) => html`<dt>${name}</dt><dd>${typeof value === "string" ? value : JSON.stringify(value)}</dd>`)}
</dl>`;

/** @param {string} id */
function confirmed(id) {
  asking.value = false;
  forget(id).catch(refused);
}

const Acts = watching((/** @type {{ id: string, scored: boolean }} */ { id, scored }) => {
  const { more, less } = draft.value;
  if (asking.value) {
    return html`<div class="confirm" role="alertdialog" aria-label="Delete this image?">
      <p><strong>Delete this image for everybody?</strong> It leaves the gallery until it is added again.</p>
      <div class="row">
        <button type="button" class="danger" onClick=${() => confirmed(id)}>Delete</button>
        <button type="button" onClick=${() => (asking.value = false)}>Keep it</button>
      </div>
    </div>`;
  }
  return html`<div class="deeds">
    <button type="button" class="primary" onClick=${() => continueWith(id)}><${Icon} name="start" /> Search on from this</button>
    ${scored &&
    html`<button type="button" aria-pressed=${more.includes(id)} onClick=${() => judge(id, "more")}><${Icon} name="more" /> More like this</button>
      <button type="button" aria-pressed=${less.includes(id)} onClick=${() => judge(id, "less")}><${Icon} name="less" /> Not this</button>`}
    <a class="button" href=${`v1/${api.picturePath(id)}`} target="_blank" rel="noreferrer" hidden=${Boolean(api.key.get())}>The file</a>
    <button type="button" class="quiet bad" onClick=${() => (asking.value = true)}><${Icon} name="trash" /> Delete</button>
  </div>`;
});
