// What is served as it is committed: vendored files are npm's own, and the start page names them all.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const served = new URL("../../../services/gateway/page/static/", import.meta.url);
const modules = new URL("../node_modules/", import.meta.url);
const read = (name, from = served) => readFileSync(new URL(name, from), "utf8");

const VENDORED = {
  "vendor/preact.js": "preact/dist/preact.mjs",
  "vendor/signals-core.js": "@preact/signals-core/dist/signals-core.mjs",
  "vendor/htm.js": "htm/dist/htm.mjs",
};

test("vendored files are those of the pinned packages, with their licences", () => {
  for (const [name, original] of Object.entries(VENDORED)) {
    assert.equal(read(name), read(original, modules), name);
    const root = original.replace(/\/dist\/.*/, "");
    const { version } = JSON.parse(read(`${root}/package.json`, modules));
    const licences = read("vendor/LICENSES.txt");
    assert.ok(licences.includes(`${root} ${version} `), `${root} ${version}`);
    assert.ok(licences.includes(read(`${root}/LICENSE`, modules)), `licence of ${root}`);
  }
});

test("the start page names every module, so that none waits for another", () => {
  const named = [...read("index.html").matchAll(/(?:src|href)="page\/([^"]+\.js)"/g)].map((one) => one[1]);
  const there = readdirSync(served, { recursive: true }).filter((name) => name.endsWith(".js"));
  assert.deepEqual(named.toSorted(), there.toSorted());
});

test("nothing is written into the page that its policy forbids", () => {
  const page = read("index.html");
  assert.doesNotMatch(page, /\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)/);
  for (const name of readdirSync(served, { recursive: true }).filter((one) => /\.(js|css|html|svg)$/.test(one) && !/vendor/.test(one))) {
    assert.doesNotMatch(read(name).replaceAll("http://www.w3.org/2000/svg", ""), /https?:\/\//, name);
  }
});
