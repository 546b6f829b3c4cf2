// Draws the page and starts it.

import { Shell } from "./shell.js";
import { start, step } from "./state.js";
import { effect, html, render } from "./view.js";

render(html`<${Shell} />`, /** @type {HTMLElement} */ (document.getElementById("page")));

// How long results take from the answer to the screen, for whoever measures it.
effect(() => {
  if (!step.value?.answer) return;
  requestAnimationFrame(() => {
    performance.measure("results-built", "answered");
    setTimeout(() => performance.measure("results-drawn", "answered"));
  });
});

void start();
