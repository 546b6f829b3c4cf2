// A picture of the gallery. With a key it is fetched, because <img> sends none; without one the
// browser loads it itself, and only when it comes into sight.

import { bytes, key, picturePath } from "./api.js";
import { Component, html } from "./view.js";

/** Object URLs of fetched pictures, in the order of their last use. */
const fetched = /** @type {Map<string, Promise<string>>} */ (new Map());
// because: thumbnails of some 20 KB each, and a reader pages through thousands
const KEPT = 600;

/** @param {string} path */
function addressOf(path) {
  const known = fetched.get(path) ?? bytes(path).then((blob) => URL.createObjectURL(blob));
  fetched.delete(path);
  fetched.set(path, known);
  known.catch(() => fetched.delete(path));
  for (const [old, url] of fetched) {
    if (fetched.size <= KEPT) break;
    fetched.delete(old);
    void url.then(URL.revokeObjectURL);
  }
  return known;
}

export class Picture extends Component {
  state = { url: "", path: "", broken: false };

  /** @param {any} props */
  static pathOf({ id, size }) {
    return picturePath(id, size);
  }

  load() {
    const path = Picture.pathOf(this.props);
    if (path === this.state.path) return;
    this.setState({ path, broken: false, url: key.get() ? "" : `v1/${path}` });
    if (!key.get()) return;
    addressOf(path).then(
      (url) => path === Picture.pathOf(this.props) && this.setState({ url }),
      () => this.setState({ broken: true }),
    );
  }
  componentDidMount() {
    this.load();
  }
  componentDidUpdate() {
    this.load();
  }
  /** @param {any} props @param {any} state */
  render({ alt = "", eager = false }, { url, broken }) {
    if (broken) return html`<span class="picture broken" role="img" aria-label=${alt || "picture not available"}></span>`;
    if (!url) return html`<span class="picture"></span>`;
    return html`<img
      class="picture"
      src=${url}
      alt=${alt}
      loading=${eager ? "eager" : "lazy"}
      decoding="async"
      draggable="false"
      onError=${() => this.setState({ broken: true })}
    />`;
  }
}
