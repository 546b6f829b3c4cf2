// The frame around both views: head, drop and paste, the key's prompt, what is said aloud.

import { ingest } from "./arrivals.js";
import { Compose } from "./compose.js";
import { Detail } from "./detail.js";
import { Gallery } from "./gallery.js";
import { Icon } from "./icons.js";
import { Results } from "./results.js";
import { choose, collections, connection, draft, keyWanted, said, say, show, startFromFile, useKey, view } from "./state.js";
import { Component, batch, classes, createRef, effect, html, signal, watching } from "./view.js";

const THEME = "weimocir-theme";
const theme = signal(/** @type {"" | "light" | "dark"} */ (localStorage.getItem(THEME) ?? ""));
const dragging = signal(false);
const naming = signal(false);

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  localStorage.setItem(THEME, theme.value);
});

/** @param {FileList | undefined} files */
function received(files) {
  if (!files?.length) return;
  if (view.peek() === "gallery") void ingest(files);
  else void startFromFile(files[0]);
}

document.addEventListener("paste", (event) => received(event.clipboardData?.files));
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  dragging.value = true;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) dragging.value = false;
});
document.addEventListener("drop", (event) => {
  dragging.value = false;
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  received(event.dataTransfer.files);
});

export const Shell = watching(() => html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
  <${Head} />
  <main id="main" tabindex="-1" class=${`at-${view.value}`}>
    ${view.value === "search" ? html`<${Compose} /><${Results} />` : html`<${Gallery} />`}
  </main>
  <${Detail} />
  ${keyWanted.value ? html`<${KeyPrompt} />` : naming.value && html`<${NewCollection} />`}
  ${dragging.value && html`<div class="drop" aria-hidden="true"><p>${view.value === "search" ? "Drop it to search with it" : `Drop them to add them to ${draft.value.collection}`}</p></div>`}
  <${Toast} />`);

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

const Head = watching(() => html`<header class="head">
  <a class="mark" href="." aria-label="WeiMoCIR, start page"><img src="page/icon.svg" alt="" width="26" height="26" /><span>WeiMoCIR</span></a>
  <nav aria-label="Views">${tab("search", "Search")}${tab("gallery", "Gallery")}</nav>
  <div class="tools">
    <${Chooser} />
    ${view.value === "search" && html`<button type="button" class="icon-only" aria-label="Copy a link to this search" title="Copy a link to this search" onClick=${share}><${Icon} name="link" /></button>`}
    <${ThemeButton} />
  </div>
</header>`);

/** @param {"search" | "gallery"} which @param {string} name */
const tab = (which, name) => html`<button type="button" class="tab" aria-current=${view.value === which ? "page" : undefined} onClick=${() => show(which)}>${name}</button>`;

const Chooser = watching(() => {
  const names = collections.value.map((one) => one.name);
  const { collection } = draft.value;
  const all = names.includes(collection) || !collection ? names : [collection, ...names];
  return html`<label class="chooser"
    ><span class=${classes("lamp", connection.value)} title=${connection.value === "up" ? "The gateway answers" : "The gateway does not answer"}></span
    ><select aria-label="Collection" value=${collection} onChange=${chosen}>
      ${all.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      <option value="">New…</option>
    </select></label
  >`;
});

/** @param {any} event */
function chosen({ currentTarget: select }) {
  if (select.value) return choose(select.value);
  select.value = draft.peek().collection;
  naming.value = true;
}

async function share() {
  const { reference } = draft.peek();
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    return say("The link is in the address bar.", true);
  }
  if (reference && "file" in reference) say("Link copied, without your picture: add it to the gallery to share it too.", true);
  else say("Link copied.", true);
}

const ThemeButton = watching(() => {
  const now = theme.value || "auto";
  const next = /** @type {const} */ ({ auto: "light", light: "dark", dark: "" })[now];
  const name = { auto: "as the system", light: "light", dark: "dark" }[now];
  const icon = { auto: "auto", light: "sun", dark: "moon" }[now];
  return html`<button type="button" class="icon-only" aria-label=${`Colours: ${name}. Change`} title=${`Colours: ${name}`} onClick=${() => (theme.value = next)}><${Icon} name=${icon} /></button>`;
});

/** A dialog that asks for one text, `answer`s with it, and says what was wrong with it. */
class Asks extends Component {
  dialog = createRef();
  state = { wrong: "" };
  componentDidMount() {
    this.dialog.current.showModal();
  }
  /** @param {any} props @param {any} state */
  render({ title, hint, label, secret, answer, close }, { wrong }) {
    const given = async (/** @type {any} */ event) => {
      event.preventDefault();
      this.setState({ wrong: (await answer(new FormData(event.currentTarget).get("answer")?.toString().trim() ?? "")) ?? "" });
    };
    const cancelled = (/** @type {Event} */ event) => (close ? close() : event.preventDefault());
    return html`<dialog class="asks" ref=${this.dialog} aria-labelledby="asks-title" onCancel=${cancelled}>
      <form onSubmit=${given}>
        <h2 id="asks-title">${title}</h2>
        ${wrong ? html`<p class="bad" role="alert">${wrong}</p>` : html`<p>${hint}</p>`}
        <label class="field-label" for="answer">${label}</label>
        <input id="answer" name="answer" type=${secret ? "password" : "text"} autocomplete="off" required />
        <div class="row"><button class="primary">Use it</button>${close && html`<button type="button" onClick=${close}>Cancel</button>`}</div>
      </form>
    </dialog>`;
  }
}

const keyGiven = async (/** @type {string} */ text) => {
  await useKey(text);
  return keyWanted.peek() ? "This key was not accepted." : "";
};

const KeyPrompt = () => html`<${Asks} title="This gateway wants a key" hint="It is kept until this tab is closed." label="API key" secret answer=${keyGiven} />`;

const nameGiven = (/** @type {string} */ name) => {
  batch(() => {
    naming.value = false;
    choose(name);
    show("gallery");
  });
};

const NewCollection = () => html`<${Asks} title="A new collection" hint="It is made with the first picture that is added." label="Its name" answer=${nameGiven} close=${() => (naming.value = false)} />`;

/** What is said: read aloud, and shown until something else is said or some seconds passed. */
class Toast extends Component {
  state = { text: "", shown: false };
  timer = 0;
  stop = effect(() => {
    const { text, shown } = said.value;
    clearTimeout(this.timer);
    this.setState({ text, shown });
    this.timer = window.setTimeout(() => this.setState({ shown: false }), 4000);
  });
  componentWillUnmount() {
    this.stop();
  }
  /** @param {any} _ @param {any} state */
  render(_, { text, shown }) {
    return html`<div class=${classes("toast", shown && "shown")} role="status" aria-live="polite">${text}</div>`;
  }
}
