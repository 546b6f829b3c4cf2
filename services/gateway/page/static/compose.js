// The panel where a search is composed: the reference, what should differ, and what else counts.

/** @import { FilterValues, Kind } from "../types.js" */

import { Icon } from "./icons.js";
import { GAMMA } from "./link.js";
import { Picture } from "./picture.js";
import { ask, collection, compose, draft, judge, search, searchable, searching, show, startFrom, startFromFile, startOver, trail } from "./state.js";
import { Weights } from "./weights.js";
import { html, watching } from "./view.js";

/** @param {(value: string) => void} set */
const typed = (set) => (/** @type {any} */ event) => set(event.currentTarget.value);

/** @param {Event} event */
function submitted(event) {
  event.preventDefault();
  void search();
}

export const Compose = watching(() => {
  const { modifier } = draft.value;
  return html`<div class="compose">
    <form onSubmit=${submitted} aria-label="Search">
      <${ReferencePicture} />
      <label class="field-label" for="modifier">What should differ</label>
      <textarea
        id="modifier"
        rows="2"
        placeholder="is green with a star"
        value=${modifier}
        onInput=${typed((text) => compose({ modifier: text }))}
        onKeyDown=${(/** @type {KeyboardEvent} */ e) => e.key === "Enter" && !e.shiftKey && submitted(e)}
      ></textarea>
      <div class="row">
        <button class="primary" disabled=${!searchable.value} aria-busy=${searching.value}><${Icon} name="search" /> Search</button>
        ${trail.value.length > 0 && html`<button type="button" class="quiet" onClick=${startOver}>Start over</button>`}
      </div>
      <${Judged} />
      <${Finer} />
    </form>
    <${Weights} />
  </div>`;
});

const ReferencePicture = watching(() => {
  const { reference } = draft.value;
  const pick = html`<label class="pick">
    <input type="file" accept="image/*" aria-label="Reference picture from a file" onChange=${chosen} />
    <span class="button"><${Icon} name="upload" /> ${reference ? "Another" : "Choose a file"}</span>
  </label>`;
  if (!reference || "lost" in reference) {
    return html`<div class=${reference ? "reference empty lost" : "reference empty"}>
      ${reference
        ? html`<p role="alert"><strong>This link was made with a picture that it cannot hold.</strong> Drop that picture here to see the same search.</p>`
        : html`<p><strong>Drop a picture here</strong><br />or paste one. Without one, words alone are searched.</p>`}
      <div class="row">${pick}<button type="button" onClick=${() => show("gallery")}>From the gallery</button></div>
    </div>`;
  }
  return html`<figure class="reference">
    ${"id" in reference
      ? html`<${Picture} id=${reference.id} size=${640} alt="The reference" eager />`
      : html`<img class="picture" src=${reference.url} alt=${`The reference: ${reference.name}`} />`}
    <figcaption>
      <span>${"id" in reference ? "from the gallery" : reference.name}</span>
      ${pick}
      <button type="button" class="icon-only" aria-label="Remove the reference" title="Remove the reference" onClick=${() => startFrom(null)}><${Icon} name="close" /></button>
    </figcaption>
  </figure>`;
});

/** @param {any} event */
function chosen(event) {
  const [file] = event.currentTarget.files;
  event.currentTarget.value = "";
  if (file) void startFromFile(file);
}

/** Images that were marked "more like this" or "not this". */
const Judged = watching(() => {
  const { more, less } = draft.value;
  if (more.length + less.length === 0) return null;
  const list = (/** @type {string[]} */ ids, /** @type {"more" | "less"} */ side, /** @type {string} */ name) =>
    ids.length > 0 &&
    html`<div class=${`judged ${side}`}>
      <span>${name}</span>
      ${ids.map((id) => html`<button type="button" key=${id} aria-label=${`${name}: take this mark back`} title="Take this mark back" onClick=${() => judge(id, side)}><${Picture} id=${id} size=${128} /><${Icon} name="close" /></button>`)}
    </div>`;
  return html`${list(more, "more", "More like")}${list(less, "less", "Not like")}`;
});

const Finer = watching(() => {
  const { negative, gamma, textReference, filter } = draft.value;
  const fields = collection.value?.fields ?? {};
  const set = Object.values(filter).filter((value) => Object.values(value).some(Boolean)).length;
  const count = Number(negative.trim() !== "") + Number(textReference === "caption") + set;
  return html`<details class="finer" open=${count > 0 || undefined}>
    <summary>Without, captions, filters${count > 0 && html` <span class="count">${count}</span>`}</summary>
    <label class="field-label" for="negative">Without</label>
    <input id="negative" type="text" placeholder="people" value=${negative} onInput=${typed((text) => compose({ negative: text }))} />
    ${negative.trim() !== "" &&
    html`<div class="slider gamma">
      <label for="gamma"><span class="sign">γ</span> how much that counts</label><output for="gamma">${gamma.toFixed(2)}</output>
      <input id="gamma" type="range" min="0" max="1" step="0.05" value=${gamma} onInput=${typed((x) => compose({ gamma: Number(x) }))} onChange=${search} />
      ${gamma !== GAMMA && html`<button type="button" class="quiet" onClick=${() => compose({ gamma: GAMMA })}>Back to ${GAMMA}</button>`}
    </div>`}
    <fieldset class="choice">
      <legend>What meets the captions</legend>
      ${choice("image", "the picture", textReference)}${choice("caption", "its own captions", textReference)}
    </fieldset>
    ${Object.keys(fields).length > 0 && html`<${Filters} fields=${fields} values=${filter} />`}
  </details>`;
});

/** @param {"image" | "caption"} value @param {string} name @param {string} now */
const choice = (value, name, now) => html`<label>
  <input type="radio" name="text-reference" value=${value} checked=${value === now} onChange=${() => ask({ textReference: value })} /><span>${name}</span>
</label>`;

/** @param {{ fields: Record<string, Kind>, values: FilterValues }} props */
const Filters = ({ fields, values }) => html`<fieldset class="filters">
  <legend>Only images whose</legend>
  ${Object.entries(fields).map(([field, kind]) => html`<${FilterControl} key=${field} ...${{ field, kind, value: values[field] ?? {} }} />`)}
</fieldset>`;

/** @param {{ field: string, kind: Kind, value: FilterValues[string] }} props */
function FilterControl({ field, kind, value }) {
  const set = (/** @type {FilterValues[string]} */ change) => {
    const filter = { ...draft.peek().filter, [field]: { ...value, ...change } };
    compose({ filter: Object.fromEntries(Object.entries(filter).filter(([, one]) => Object.values(one).some(Boolean))) });
  };
  if (kind === "keyword") {
    return html`<label>${field} <span class="is">is</span><input type="text" value=${value.is ?? ""} onInput=${typed((is) => set({ is }))} onChange=${search} /></label>`;
  }
  if (kind === "boolean") {
    return html`<label>${field} <span class="is">is</span><select value=${value.is ?? ""} onInput=${typed((is) => set({ is }))} onChange=${search}>
      <option value="">yes or no</option><option value="true">yes</option><option value="false">no</option>
    </select></label>`;
  }
  const type = kind === "timestamp" ? "datetime-local" : "number";
  const step = kind === "integer" ? "1" : "any";
  const end = (/** @type {"from" | "to"} */ side) =>
    html`<input type=${type} step=${step} aria-label=${`${field} ${side}`} placeholder=${side} value=${value[side] ?? ""} onInput=${typed((text) => set({ [side]: text }))} onChange=${search} />`;
  return html`<div class="range" role="group" aria-label=${field}><span>${field}</span>${end("from")}<span class="is">to</span>${end("to")}</div>`;
}

