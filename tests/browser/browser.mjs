// What every test of the page needs: a gateway (BASE_URL, else the mock), Chromium, and hands that
// drop files and read what is drawn.

import { chromium } from "playwright-core";
import { picture } from "./mock/pictures.mjs";
import { gateway } from "./mock/server.mjs";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Whether the gateway is a real one, that no fault can be asked of. */
export const real = Boolean(process.env.BASE_URL);
/** A collection with at least 20 and at most 300 images. */
export const collection = process.env.COLLECTION ?? "default";

export async function open() {
  const server = real ? null : gateway();
  if (server) await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = process.env.BASE_URL?.replace(/\/$/, "") ?? `http://127.0.0.1:${server.address().port}`;
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  const close = async () => {
    await browser.close();
    server?.closeAllConnections();
    server?.close();
  };
  return { base, browser, close };
}

/** A page at `hash`, with the requests that it made and the errors that it had. */
export async function visit({ base, browser }, hash = `#search?in=${collection}`, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const requests = [];
  const errors = [];
  page.on("request", (request) => requests.push(`${request.method()} ${new URL(request.url()).pathname}`));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && !/Failed to load resource/.test(message.text()) && errors.push(message.text()));
  await page.goto(`${base}/${hash}`);
  await page.locator(".strip button, .card, .tile, .nothing, dialog, .notice").first().waitFor();
  return { page, context, requests, errors };
}

/** Files that are drawn here, the `from`-th and on. */
export const files = (from, count) =>
  Array.from({ length: count }, (_, i) => ({ name: `drawn-${from + i}.png`, type: "image/png", base64: picture(from + i).bytes.toString("base64") }));

/** Drops files onto the page, as a hand does. */
export const drop = (page, dropped) =>
  page.evaluate((all) => {
    const data = new DataTransfer();
    for (const { name, type, base64 } of all) {
      data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type }));
    }
    const at = document.body;
    at.dispatchEvent(new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true }));
    at.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  }, dropped);

/** Waits until the page has drawn the answer to what `act` asks. */
export async function answered(page, act) {
  const [response] = await Promise.all([page.waitForResponse((one) => one.url().endsWith("/v1/search") && one.ok()), act()]);
  const answer = await response.json();
  await page.locator(".results[aria-busy=false]").waitFor();
  return answer;
}

/** The ids of the cards, in order, from the addresses of their pictures. */
export const drawn = (page) =>
  page.locator(".card .picture").evaluateAll((all) => all.map((one) => one.getAttribute("src")?.match(/images\/([^/]+)\//)?.[1]));

/** The gateway's own order for `request`. */
export async function ordered(base, request) {
  const response = await fetch(`${base}/v1/search`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ collection, k: 300, ...request }) });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return (await response.json()).candidates;
}

/** Moves a slider to `value` by the keyboard's own event. */
export const slide = (page, id, value) =>
  page.locator(`#${id}`).evaluate((input, to) => {
    input.value = to;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }, String(value));

export const newestIds = async (base, name = collection) => (await (await fetch(`${base}/v1/collections/${name}/images?limit=50`)).json()).images.map((one) => one.id);
