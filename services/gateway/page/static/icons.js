// The page's few signs, drawn with strokes in the colour of the text beside them.

import { html } from "./view.js";

const STROKES = {
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM11 11l3.5 3.5",
  start: "M2 3.5h5v5H2zM9 7.5h5v5H9zM7 6l2 3",
  more: "M8 3v10M3 8h10",
  less: "M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  trash: "M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5l.6 9h5.8l.6-9M7 7v4M9 7v4",
  link: "M6.5 9.5l3-3M7 5l1.6-1.6a2.8 2.8 0 0 1 4 4L11 9M9 11l-1.6 1.6a2.8 2.8 0 0 1-4-4L5 7",
  upload: "M8 10.5V2.5M4.8 5.5L8 2.3l3.2 3.2M2.5 10v3.5h11V10",
  back: "M9.5 3.5L5 8l4.5 4.5",
  forward: "M6.5 3.5L11 8l-4.5 4.5",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  moon: "M13.5 9.6A6 6 0 1 1 6.4 2.5a4.8 4.8 0 0 0 7.1 7.1z",
  auto: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 2v12M10 4v8M12 5.5v5",
  warn: "M8 2l6.5 11.5h-13zM8 6.5v3M8 11.4v.2",
  again: "M13 8a5 5 0 1 1-1.5-3.5M13 2v3h-3",
  done: "M3 8.5l3.2 3.2L13 4.8",
  filter: "M2 3.5h12M4.5 8h7M6.5 12.5h3",
};

/** @param {{ name: keyof typeof STROKES }} props */
export const Icon = ({ name }) => html`<svg
  class="icon"
  viewBox="0 0 16 16"
  width="16"
  height="16"
  aria-hidden="true"
  fill="none"
  stroke="currentColor"
  stroke-width="1.5"
  stroke-linecap="round"
  stroke-linejoin="round"
><path d=${STROKES[name]} /></svg>`;
