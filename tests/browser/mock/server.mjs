// A gateway for the page's tests and for work on the page without a pipeline: the API over made-up
// galleries, with faults on demand. `node mock/server.mjs [PORT]` serves it.
//
// MOCK_GALLERY=FOLDER adds a collection of pictures and captions.jsonl, as weimocir-catalogue
// renders them. POST /mock sets faults: {"keys", "partial", "warnings", "slow_ms", "refuse"}.

import { createServer } from "node:http";
import { existsSync, readFileSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { idOf, picture } from "./pictures.mjs";
import { moved, ofPicture, ofText, search } from "./vectors.mjs";

const STATIC = fileURLToPath(new URL("../../../services/gateway/page/static/", import.meta.url));
const CSP = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'";
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8" };
const MODEL = "mock:shapes";
const FIELDS = { colour: "keyword", price: "float", number: "integer", made: "timestamp", sale: "boolean" };

class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    Object.assign(this, { status, code });
  }
}

function stored(i, { bytes, source, captions, words, metadata = {} }) {
  const id = idOf(bytes);
  return { id, bytes, source, captions, metadata, words, revision: i, vector: ofPicture(words, id), texts: captions.map(ofText), state: "captioned" };
}

function shapes(from, count) {
  const images = Array.from({ length: count }, (_, n) => {
    const i = from + n;
    const one = picture(i);
    const made = new Date(Date.UTC(2026, 0, 1 + (i % 300))).toISOString();
    return stored(i, { ...one, metadata: { colour: one.shown.colour, price: 5 + (i % 40) / 2, number: i, made, sale: i % 3 === 0 } });
  });
  return new Map(images.map((one) => [one.id, one]));
}

function folder(path) {
  const lines = readFileSync(join(path, "captions.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  const traits = readFileSync(join(path, "attributes.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  const images = lines.map(({ image, captions }, i) => {
    const { garment, color, pattern, second, graphic, length, sleeve } = traits[i];
    const words = [garment, garment, color, color, pattern, second, graphic, graphic, length, sleeve && `${sleeve} sleeved`].filter(Boolean).join(" ");
    return stored(i, { bytes: readFileSync(join(path, image)), source: `shop/${image}`, captions, words, metadata: { colour: color, garment } });
  });
  return new Map(images.map((one) => [one.id, one]));
}

// What a dropped file shows is known if it was drawn here.
const drawn = new Map();
for (let i = 0; i < 1200; i++) drawn.set(i, null);
function knownWords(bytes) {
  const id = idOf(bytes);
  for (const [i, known] of drawn) {
    if (!known) drawn.set(i, { id: idOf(picture(i).bytes), ...picture(i), bytes: null });
    if (drawn.get(i).id === id) return drawn.get(i);
  }
  return { words: id, captions: ["a picture", "some picture", "a picture of something"] };
}

export function gateway() {
  const collections = new Map([
    ["default", { images: shapes(0, 120), fields: FIELDS }],
    ["large", { images: shapes(200, 360), fields: {} }],
    ["empty", { images: new Map(), fields: {} }],
  ]);
  const own = process.env.MOCK_GALLERY;
  if (own) collections.set("garments", { images: folder(own), fields: { colour: "keyword", garment: "keyword" } });
  let faults = {};

  const entry = ([name, { images, fields }]) => ({
    name,
    shards: 2,
    model: images.size ? MODEL : null,
    images: [...images.values()].filter((one) => one.state !== "waiting").length,
    captioned: [...images.values()].filter((one) => one.state === "captioned").length,
    fields,
  });
  const inCollection = (name) => collections.get(name) ?? refuse(404, "unknown_collection", `there is no collection \`${name}\``);
  const refuse = (status, code, detail) => {
    throw new Problem(status, code, detail);
  };
  const imageIn = (name, id) => inCollection(name).images.get(id) ?? refuse(404, "unknown_image", `there is no image ${id} in \`${name}\``);
  const anywhere = (id) => [...collections.values()].map((c) => c.images.get(id)).find(Boolean) ?? refuse(404, "unknown_image", `there is no image ${id}`);
  const shown = ({ id, source, metadata, captions, revision, state }) => ({ id, source, metadata, captions: state === "captioned" ? captions : [], revision });

  function answer(request, upload) {
    const { images } = inCollection(request.collection ?? "default");
    if (images.size === 0) refuse(503, "unavailable", `the collection \`${request.collection}\` has no images yet`);
    const { alpha = 0.6, beta = 0.2, k = 10 } = request;
    for (const [name, x] of Object.entries({ alpha, beta })) if (!(x >= 0 && x <= 1)) refuse(400, "invalid", `${name} is ${x}, which is not between 0 and 1`);
    const id = upload ? idOf(upload) : request.reference?.id;
    const held = id && (images.get(id) ?? (upload ? { ...knownWords(upload), id } : refuse(404, "unknown_image", `there is no image ${id}`)));
    const reference = held ? (held.vector ?? ofPicture(held.words, id)) : null;
    const vectors = (ids = []) => ids.map((one) => anywhere(one).vector);
    const text = request.modifier?.trim();
    if (!held && !text) refuse(400, "invalid", "a search needs a reference picture, a modifier, or both");
    const modifier = moved(text ? ofText(text) : null, {
      negative: request.negative && ofText(request.negative),
      gamma: request.gamma ?? 0.3,
      more: vectors(request.more_like),
      less: vectors(request.less_like),
    });
    const there = [...images.values()].filter((one) => one.state !== "waiting" && (!request.filter || meets(one.metadata, request.filter)));
    const without = new Set([...(request.exclude ?? []), ...(request.exclude_reference === false ? [] : [id])]);
    const found = search({
      reference,
      modifier,
      captions: request.text_reference === "caption" && held ? held.captions.map(ofText) : null,
      images: there.filter((one) => !without.has(one.id)).map((one) => (one.state === "captioned" ? one : { ...one, texts: [] })),
      alpha,
      beta,
      k,
      explain: request.explain,
    });
    const candidates = found.candidates.map(({ each, ...c }) => {
      const { captions, source, metadata } = shown(images.get(c.image));
      return { ...c, source, metadata, captions: captions.map((t, r) => ({ text: t, similarity: each[r] ?? null })) };
    });
    const fewer = k > there.length && !request.filter ? [`k is ${k}, and the collection has ${there.length} images: these are all`] : [];
    return {
      candidates, collection: request.collection ?? "default", model: MODEL, alpha, beta, text_reference: request.text_reference ?? "image",
      images: there.length, partial: Boolean(faults.partial), missing_shards: faults.partial ?? [], warnings: [...fewer, ...(faults.warnings ?? [])],
      took_ms: 11.4, timing: {}, ...(request.explain && { norms: found.norms }),
    };
  }

  function submit(name, files) {
    if (!collections.has(name)) collections.set(name, { images: new Map(), fields: {} });
    const { images } = inCollection(name);
    const outcomes = files.map(({ filename, bytes }) => {
      if (bytes[0] !== 137 && bytes[0] !== 255) return { source: filename, id: null, outcome: "refused", reason: `${filename} is no picture that can be read` };
      const id = idOf(bytes);
      if (images.has(id)) return { source: filename, id, outcome: "present" };
      const { words, captions } = knownWords(bytes);
      const one = { ...stored(1e6 + images.size, { bytes, source: filename, captions, words }), state: "waiting" };
      images.set(id, one);
      const fails = filename.startsWith("broken");
      setTimeout(() => Object.assign(one, fails ? { state: "failed", reason: "the picture ends too early" } : { state: "searchable" }), 250);
      if (!fails) setTimeout(() => Object.assign(one, { state: "captioned" }), 700);
      return { source: filename, id, outcome: "submitted" };
    });
    return { status: outcomes.every((one) => one.outcome === "refused") ? 422 : 202, body: { images: outcomes } };
  }

  function stream(response, name, ids) {
    inCollection(name);
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    const told = new Map();
    let ticks = 0;
    const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    const tick = () => {
      const { images } = inCollection(name);
      for (const id of ids) {
        const { state = "failed", reason } = images.get(id) ?? {};
        if (told.get(id) !== state) send("image", { id, state, ...(reason && { reason }) });
        told.set(id, state);
      }
      const { images: count, captioned } = entry([name, inCollection(name)]);
      if (ticks++ % 10 === 0) send("status", { images: count, captioned, waiting: [...images.values()].filter((one) => one.state === "waiting").length });
      if (ids.length && ids.every((id) => ["captioned", "failed"].includes(told.get(id)))) {
        send("done", {});
        end();
      }
    };
    const timer = setInterval(tick, 100);
    const end = () => {
      clearInterval(timer);
      response.end();
    };
    response.on("close", end);
    tick();
  }

  async function route(request, response) {
    const url = new URL(request.url, "http://mock");
    const path = url.pathname.split("/").slice(1).map(decodeURIComponent);
    const json = (body, status = 200) => send(response, status, JSON.stringify(body), "application/json");
    if (url.pathname === "/mock") return json((faults = JSON.parse(await body(request))));
    if (path[0] !== "v1") return file(request, response, url.pathname);
    if (faults.keys && !faults.keys.includes(request.headers.authorization?.replace("Bearer ", ""))) refuse(401, "unauthorized", "this gateway wants an API key");
    const [, kind, name, sub, id] = path;
    if (kind === "collections" && !name) return json({ collections: [...collections].map(entry) });
    if (kind === "collections" && !sub) return json(entry([name, inCollection(name)]));
    if (kind === "collections" && sub === "events") return stream(response, name, url.searchParams.getAll("id"));
    if (kind === "collections" && request.method === "POST") {
      const parts = multipart(await body(request), request.headers["content-type"]);
      const { status, body: outcome } = submit(name, parts.filter((one) => one.name === "image"));
      return status === 422 ? json({ status, code: "invalid", title: "no picture was taken", ...outcome }, 422) : json(outcome, 202);
    }
    if (kind === "collections" && id && request.method === "DELETE") {
      inCollection(name).images.delete(imageIn(name, id).id);
      return json({}, 202);
    }
    if (kind === "collections" && id) return json({ ...shown(imageIn(name, id)), model: MODEL });
    if (kind === "collections") {
      const from = Number(url.searchParams.get("cursor") ?? 0);
      const limit = Number(url.searchParams.get("limit") ?? 50);
      const all = [...inCollection(name).images.values()].filter((one) => one.state !== "waiting").reverse();
      return json({ images: all.slice(from, from + limit).map(shown), next: from + limit < all.length ? String(from + limit) : null });
    }
    if (kind === "images") return send(response, 200, anywhere(name).bytes, "image/png", { "Cache-Control": "public, max-age=31536000, immutable" });
    if (kind === "search") {
      if (faults.slow_ms) await new Promise((resolve) => setTimeout(resolve, faults.slow_ms));
      if (faults.refuse) refuse(...faults.refuse);
      const bytes = await body(request);
      if (!request.headers["content-type"].startsWith("multipart/")) return json(answer(JSON.parse(bytes)));
      const parts = multipart(bytes, request.headers["content-type"]);
      return json(answer(JSON.parse(parts.find((one) => one.name === "request").bytes), parts.find((one) => one.name === "reference")?.bytes));
    }
    refuse(404, "invalid", `there is nothing at ${url.pathname}`);
  }

  return createServer((request, response) => {
    route(request, response).catch((error) => {
      const { status = 500, code = "internal", message } = error;
      if (!(error instanceof Problem)) console.error(error);
      send(response, status, JSON.stringify({ type: "about:blank", title: code, status, detail: message, code }), "application/problem+json");
    });
  });
}

function meets(metadata, filter) {
  if (filter.and) return filter.and.every((one) => meets(metadata, one));
  const value = metadata[filter.field];
  if (value === undefined) return false;
  if ("is" in filter) return value === filter.is;
  const at = (x) => (typeof value === "string" ? Date.parse(x) : x);
  const { gte = -Infinity, lte = Infinity } = filter.range;
  return at(value) >= (gte === -Infinity ? gte : at(gte)) && at(value) <= (lte === Infinity ? lte : at(lte));
}

function file(request, response, path) {
  const name = path === "/" ? "index.html" : path.replace(/^\/page\//, "");
  const at = join(STATIC, normalize(name));
  if (!at.startsWith(STATIC) || !existsSync(at) || !TYPES[extname(at)]) return send(response, 404, "", "text/plain");
  const bytes = readFileSync(at);
  const zipped = /\bgzip\b/.test(request.headers["accept-encoding"] ?? "");
  send(response, 200, zipped ? gzipSync(bytes) : bytes, TYPES[extname(at)], { "Content-Security-Policy": CSP, "Cache-Control": "no-cache", ...(zipped && { "Content-Encoding": "gzip" }) });
}

function send(response, status, bytes, type, headers = {}) {
  response.writeHead(status, { "Content-Type": type, ...headers });
  response.end(bytes);
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

function multipart(bytes, type) {
  const boundary = Buffer.from(`--${type.match(/boundary=(.*)$/)[1]}`);
  const parts = [];
  for (let at = bytes.indexOf(boundary); at >= 0; ) {
    const next = bytes.indexOf(boundary, at + 1);
    if (next < 0) break;
    const part = bytes.subarray(at + boundary.length + 2, next - 2);
    const split = part.indexOf("\r\n\r\n");
    const head = part.subarray(0, split).toString();
    parts.push({ name: head.match(/ name="([^"]*)"/)?.[1], filename: head.match(/filename="([^"]*)"/)?.[1], bytes: part.subarray(split + 4) });
    at = next;
  }
  return parts;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const port = Number(process.argv[2] ?? 8787);
  gateway().listen(port, "127.0.0.1", () => console.log(`mock gateway at http://127.0.0.1:${port}/`));
}
