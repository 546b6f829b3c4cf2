// How the page draws: preact's elements written as templates, drawn anew when a signal they read
// changes. Everything from vendor/ comes in here.

import { Component, createRef, h, render } from "./vendor/preact.js";
import { batch, computed, effect, signal, untracked } from "./vendor/signals-core.js";
import htm from "./vendor/htm.js";

/** @type {(strings: TemplateStringsArray, ...values: any[]) => any} */
export const html = htm.bind(/** @type {any} */ (h));
export { Component, batch, computed, createRef, effect, render, signal, untracked };

/**
 * A component that is drawn anew when a signal that it read changes, or one of its props.
 * @template P
 * @param {(props: P) => any} draw
 */
export function watching(draw) {
  return class extends Component {
    /** @type {(() => void) | undefined} */
    stop;
    /** @param {any} props */
    render(props) {
      this.stop?.();
      let drawn;
      let first = true;
      this.stop = effect(() => {
        if (first) drawn = draw(props);
        else this.forceUpdate();
        first = false;
      });
      return drawn;
    }
    /** @param {any} next */
    shouldComponentUpdate(next) {
      const now = /** @type {any} */ (this.props);
      return Object.keys({ ...now, ...next }).some((name) => now[name] !== next[name]);
    }
    componentWillUnmount() {
      this.stop?.();
    }
  };
}

/**
 * Class names, without those whose condition fails.
 * @param {...(string | false | null | undefined)} names
 */
export const classes = (...names) => names.filter(Boolean).join(" ");
