// The live gallery: newest images first, files on their way in, and what becomes of them.

/** @import { Arrival, Image } from "../types.js" */

import * as api from "./api.js";
import { arrivals, clearArrivals, ingest, isFinal, isUnsent, resend } from "./arrivals.js";
import { Icon } from "./icons.js";
import { Picture } from "./picture.js";
import { collection, collections, connection, draft, failure, forgotten, keyWanted, opened, refused, retry, searchFrom, view } from "./state.js";
import { Component, batch, computed, createRef, effect, html, signal, untracked, watching } from "./view.js";

const PAGE = 60;
// because: thousands of files may be dropped at once
const LISTED = 100;

const images = signal(/** @type {Image[]} */ ([]));
const next = signal(/** @type {string | null} */ (null));
const loading = signal(false);
const loaded = signal("");
/** What the collection holds, as its events last said. */
const counts = signal(/** @type {{ images: number, captioned: number, waiting: number } | null} */ (null));
export const newest = computed(() => images.value.filter((one) => !forgotten.value.has(one.id)));

/** Reads the next page, or the first one. */
async function read() {
  if (loading.peek()) return;
  const name = draft.peek().collection;
  loading.value = true;
  try {
    const page = await api.images(name, PAGE, loaded.peek() === name ? next.peek() : null);
    batch(() => {
      const held = loaded.peek() === name ? images.peek() : [];
      const ids = new Set(held.map((one) => one.id));
      images.value = [...held, ...page.images.filter((one) => !ids.has(one.id))];
      next.value = page.next;
      loaded.value = name;
    });
  } catch (error) {
    refused(error);
  } finally {
    loading.value = false;
  }
}

/** Puts what is new on top, and new captions below their pictures. */
async function refresh() {
  const name = draft.peek().collection;
  if (loaded.peek() !== name) return read();
  const page = await api.images(name, PAGE, null);
  const fresh = new Map(page.images.map((one) => [one.id, one]));
  const held = images.peek().map((one) => fresh.get(one.id) ?? one);
  const ids = new Set(held.map((one) => one.id));
  images.value = [...page.images.filter((one) => !ids.has(one.id)), ...held];
}

function empty() {
  images.value = [];
  next.value = null;
}

// The first page belongs to both views; it is read once for each collection.
effect(() => {
  const { collection: name } = draft.value;
  const there = collections.value.some((one) => one.name === name && one.images > 0);
  if (connection.value !== "up" || keyWanted.value) return;
  if (loaded.value !== name) untracked(there ? read : empty);
});

// While the gallery is shown, the collection's own counts tell when to look again.
const name = computed(() => draft.value.collection);
const exists = computed(() => collection.value !== null);
effect(() => {
  if (view.value !== "gallery" || connection.value !== "up" || !exists.value) return;
  const stop = new AbortController();
  void follow(name.value, stop.signal);
  return () => stop.abort();
});

/** @param {string} which @param {AbortSignal} stop */
async function follow(which, stop) {
  let seen = "";
  counts.value = null;
  while (!stop.aborted) {
    try {
      await api.events(which, [], stop, (event, data) => {
        if (event !== "status") return;
        counts.value = data;
        const now = `${data.images} ${data.captioned}`;
        if (now !== seen) void refresh().catch(refused);
        seen = now;
      });
    } catch (error) {
      if (!stop.aborted) refused(error);
      if (!(error instanceof api.Refused) || error.code !== "busy") return;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

export const Gallery = watching(() => {
  const shown = newest.value;
  return html`<section class="gallery" aria-label="Gallery">
    <${Head} />
    ${(connection.value === "down" || failure.value) && html`<${Trouble} />`}
    <${Arrivals} />
    ${shown.length === 0 && !loading.value && connection.value === "up" && html`<div class="nothing"><p><strong>Nothing here yet.</strong></p><p>Drop pictures anywhere on this page.</p></div>`}
    <ul class="tiles">${shown.map((one) => html`<${Tile} key=${one.id} image=${one} />`)}</ul>
    <${More} />
  </section>`;
});

const Head = watching(() => {
  const { images: all = 0, captioned = 0 } = counts.value ?? collection.value ?? {};
  const waiting = counts.value?.waiting ?? 0;
  return html`<header class="gallery-head">
    <h1>${draft.value.collection}</h1>
    <p>${all.toLocaleString("en")} ${all === 1 ? "image" : "images"}, ${captioned === all ? "all captioned" : `${captioned.toLocaleString("en")} captioned`}${waiting > 0 && html`, <span class="busy">${waiting.toLocaleString("en")} on their way</span>`}</p>
    <label class="pick">
      <input type="file" accept="image/*" multiple aria-label="Add pictures to the gallery" onChange=${added} />
      <span class="button primary"><${Icon} name="upload" /> Add pictures</span>
    </label>
  </header>`;
});

/** @param {any} event */
function added(event) {
  const files = [...event.currentTarget.files];
  event.currentTarget.value = "";
  void ingest(files);
}

function again() {
  failure.value = null;
  return retry();
}

const Trouble = watching(() => html`<div class="notice error" role="alert">
  <${Icon} name="warn" />
  ${connection.value === "down"
    ? html`<p><strong>The gateway does not answer.</strong> This page asks again by itself and goes on when it is back.</p>`
    : html`<p><strong>That did not work.</strong> ${failure.value?.message}</p>`}
  <button type="button" onClick=${again}>Try now</button>
</div>`);

const STATES = {
  sending: "sending",
  waiting: "waiting for the encoder",
  searchable: "searchable",
  captioned: "searchable and captioned",
  present: "was here already",
  failed: "failed",
  refused: "refused",
};

const Arrivals = watching(() => {
  const all = arrivals.value;
  if (all.length === 0) return null;
  const open = all.filter((one) => !isFinal(one)).length;
  const failed = all.filter((one) => ["failed", "refused"].includes(one.state));
  const bad = failed.length;
  const shown = [...failed, ...all.filter((one) => !failed.includes(one))].slice(0, LISTED);
  return html`<section class="arrivals" aria-label="Files on their way">
    <div class="row">
      <h2>${open ? `${open} of ${all.length} on their way` : `${all.length - bad} of ${all.length} arrived`}${bad > 0 && html`, <span class="bad">${bad} failed</span>`}</h2>
      ${failed.some(isUnsent) && html`<button type="button" onClick=${resend}><${Icon} name="again" /> Send again</button>`}
      ${open < all.length && html`<button type="button" class="quiet" onClick=${clearArrivals}>Put away</button>`}
    </div>
    <progress value=${all.length - open} max=${all.length} aria-label="Files that have arrived"></progress>
    <ul>${shown.map((one) => html`<${Arriving} key=${one.key} one=${one} />`)}</ul>
    ${all.length > LISTED && html`<p class="faint">and ${(all.length - LISTED).toLocaleString("en")} more</p>`}
  </section>`;
});

/** @param {{ one: Arrival }} props */
const Arriving = ({ one }) => html`<li class=${`arrival ${one.state}`} data-state=${one.state}>
  ${one.url ? html`<img class="picture" src=${one.url} alt="" onError=${(/** @type {any} */ e) => e.currentTarget.removeAttribute("src")} />` : html`<span class="picture broken"></span>`}
  <span class="name" title=${one.name}>${one.name}</span>
  <span class="state">${STATES[one.state]}${one.reason && `: ${one.reason}`}</span>
</li>`;

/** @param {{ image: Image }} props */
const Tile = ({ image }) => html`<li class="tile">
  <button type="button" class="open" aria-label=${`Details: ${image.captions[0] ?? image.source}`} onClick=${() => (opened.value = image.id)}>
    <${Picture} id=${image.id} size=${384} />
  </button>
  <div class="acts">
    <button type="button" class="act wide" aria-label=${`Search from: ${image.captions[0] ?? image.source}`} onClick=${() => searchFrom(image.id)}><${Icon} name="start" /> Search from this</button>
  </div>
  <p class="caption">${image.captions[0] ?? html`<span class="faint">no captions yet</span>`}</p>
</li>`;

/** Reads on when its place comes near, and by its button. */
class More extends Component {
  place = createRef();
  watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && next.peek() && read(), { rootMargin: "600px" });
  componentDidMount() {
    this.watcher.observe(this.place.current);
  }
  componentWillUnmount() {
    this.watcher.disconnect();
  }
  render() {
    return html`<div class="more" ref=${this.place}><${MoreButton} /></div>`;
  }
}

const MoreButton = watching(() =>
  next.value ? html`<button type="button" disabled=${loading.value} onClick=${read}>${loading.value ? "Reading…" : "More"}</button>` : null,
);
