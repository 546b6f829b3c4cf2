// The page as a reader uses it, in Chromium: against the mock gateway, or a real one at BASE_URL.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import AxeBuilder from "@axe-core/playwright";
import { answered, collection, drawn, drop, files, newestIds, open, ordered, real, slide, visit } from "./browser.mjs";

const MODIFIER = "is green with a star";

let at;
before(async () => {
  at = await open();
});
after(() => at.close());

/** Runs `use` on a fresh page, and fails for errors of the page's own. */
async function on(hash, options, use) {
  const visited = await visit(at, hash, options);
  try {
    await use(visited);
    assert.deepEqual(visited.errors, [], "errors in the console");
  } finally {
    await visited.context.close();
  }
}

/** Sets a fault of the mock for as long as `use` runs. */
async function faulty(faults, use) {
  const set = (to) => fetch(`${at.base}/mock`, { method: "POST", body: JSON.stringify(to) });
  await set(faults);
  try {
    await use();
  } finally {
    await set({});
  }
}

const fromGallery = (page, nth = 0) => answered(page, () => page.locator(".strip button").nth(nth).click());
const say = (page, text) =>
  answered(page, async () => {
    await page.fill("#modifier", text);
    await page.keyboard.press("Enter");
  });

/** The order on the page is the gateway's; images that differ by less than an f32 tells may change places. */
async function assertOrder(page, request) {
  const candidates = await ordered(at.base, request);
  const similarity = new Map(candidates.map((one) => [one.image, one.similarity]));
  const ids = await drawn(page);
  assert.equal(ids.length, Math.min(50, candidates.length));
  ids.forEach((id, i) => {
    const apart = Math.abs(similarity.get(id) - candidates[i].similarity);
    assert.ok(id === candidates[i].image || (real && apart < 1.3e-7), `place ${i + 1} is ${id}, expected ${candidates[i].image}`);
  });
}

test("a dropped file is searched with at once, and with words", () =>
  on(undefined, {}, async ({ page }) => {
    const alone = await answered(page, () => drop(page, files(5, 1)));
    assert.ok(alone.candidates.length > 0);
    assert.equal(await page.locator(".reference img").getAttribute("alt"), "The reference: drawn-5.png");
    const answer = await say(page, MODIFIER);
    assert.deepEqual((await drawn(page)).slice(0, 5), answer.candidates.slice(0, 5).map((one) => one.image));
    const first = page.locator(".card").first();
    assert.equal(await first.locator(".similarity").innerText(), answer.candidates[0].similarity.toFixed(3));
    assert.equal(await first.locator(".captions li").count(), answer.candidates[0].captions.length);
    assert.equal(await first.locator(".parts .part").count(), 2);
  }));

test("a picture of the gallery is the reference", () =>
  on(undefined, {}, async ({ page }) => {
    await fromGallery(page, 3);
    await say(page, MODIFIER);
    const ids = await newestIds(at.base);
    const shownAlpha = Number(await page.locator("#alpha").inputValue());
    const shownBeta = Number(await page.locator("#beta").inputValue());
    await assertOrder(page, { reference: { id: ids[3] }, modifier: MODIFIER, alpha: shownAlpha, beta: shownBeta });
  }));

test("the sliders order at once, without a request, as the gateway orders", () =>
  on(undefined, {}, async ({ page, requests }) => {
    const [id] = await newestIds(at.base);
    await fromGallery(page, 0);
    await say(page, MODIFIER);
    for (const [alpha, beta] of [[0.15, 0.9], [0.95, 0.05], [0.5, 1], [0, 0], [0.37, 0.62]]) {
      requests.length = 0;
      await slide(page, "alpha", alpha);
      await slide(page, "beta", beta);
      await page.waitForTimeout(350);
      assert.deepEqual(requests.filter((one) => /search/.test(one)), [], "no search is asked");
      assert.deepEqual(requests.filter((one) => /v1/.test(one) && !/thumbnail|collections$/.test(one)), []);
      await assertOrder(page, { reference: { id }, modifier: MODIFIER, alpha, beta });
    }
  }));

test("in text_reference caption, too", () =>
  on(undefined, {}, async ({ page, requests }) => {
    const [id] = await newestIds(at.base);
    await fromGallery(page, 0);
    await say(page, MODIFIER);
    await page.locator(".finer summary").click();
    const answer = await answered(page, () => page.getByLabel("its own captions").check());
    assert.equal(answer.text_reference, "caption");
    requests.length = 0;
    await slide(page, "alpha", 0.3);
    await slide(page, "beta", 0.8);
    await assertOrder(page, { reference: { id }, modifier: MODIFIER, alpha: 0.3, beta: 0.8, text_reference: "caption" });
    assert.deepEqual(requests.filter((one) => /search/.test(one)), []);
  }));

test("the map moves both weights by pointer and by keyboard", () =>
  on(undefined, {}, async ({ page }) => {
    await fromGallery(page, 0);
    await say(page, MODIFIER);
    const map = page.locator(".plane .field");
    const box = await map.boundingBox();
    await map.click({ position: { x: box.width * 0.25, y: box.height * 0.75 } });
    assert.ok(Math.abs(Number(await page.locator("#alpha").inputValue()) - 0.24) < 0.03);
    assert.ok(Math.abs(Number(await page.locator("#beta").inputValue()) - 0.24) < 0.03);
    await slide(page, "alpha", 0.5);
    await slide(page, "beta", 0.5);
    await map.focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowUp");
    assert.equal(await page.locator("#alpha").inputValue(), "0.55");
    assert.equal(await page.locator("#beta").inputValue(), "0.6");
    assert.match(await map.getAttribute("aria-valuetext"), /^α 0\.55, β 0\.60; the first result stays first on \d+ % of the map$/);
  }));

test("a conversation of three turns, and back", () =>
  on(undefined, {}, async ({ page }) => {
    await fromGallery(page, 2);
    await say(page, "is red");
    const firstTurn = await drawn(page);
    await page.locator(".card").first().getByRole("button", { name: /^Search on from/ }).click();
    assert.equal(await page.evaluate(() => document.activeElement.id), "modifier");
    await say(page, "is blue");
    await page.locator(".card").nth(1).getByRole("button", { name: /^Search on from/ }).click();
    await say(page, "with a star");
    const steps = page.locator(".trail li button");
    assert.deepEqual(await steps.allInnerTexts(), ["like this", "is red", "is blue", "with a star"]);
    const lastTurn = await drawn(page);
    await steps.nth(1).click();
    assert.deepEqual(await drawn(page), firstTurn);
    assert.equal(await page.locator("#modifier").inputValue(), "is red");
    await page.goBack();
    await page.locator(".trail [aria-current]", { hasText: "with a star" }).waitFor();
    assert.deepEqual(await drawn(page), lastTurn);
  }));

test("more like this and not this ask again, and can be taken back", () =>
  on(undefined, {}, async ({ page }) => {
    await fromGallery(page, 2);
    await say(page, MODIFIER);
    const before = await drawn(page);
    const [wanted, unwanted] = [before[2], before[0]];
    const sent = async (act) => {
      const [request] = await Promise.all([page.waitForRequest(/v1\/search$/), answered(page, act)]);
      return request.postDataJSON();
    };
    assert.deepEqual((await sent(() => page.getByRole("button", { name: "More like result 3", exact: true }).click())).more_like, [wanted]);
    const place = (await drawn(page)).indexOf(unwanted) + 1;
    const marks = await sent(() => page.getByRole("button", { name: `Not like result ${place}`, exact: true }).click());
    assert.deepEqual([marks.more_like, marks.less_like], [[wanted], [unwanted]]);
    assert.equal(await page.locator(".judged button").count(), 2);
    await sent(() => page.locator(".judged.more button").click());
    const last = await sent(() => page.locator(".judged.less button").click());
    assert.deepEqual([last.more_like, last.less_like], [undefined, undefined]);
    assert.deepEqual(await drawn(page), before);
  }));

test("negative text is sent with its weight", () =>
  on(undefined, {}, async ({ page }) => {
    await fromGallery(page, 2);
    await page.locator(".finer summary").click();
    await page.fill("#negative", "stripes");
    const [request] = await Promise.all([page.waitForRequest(/v1\/search$/), answered(page, () => page.keyboard.press("Enter"))]);
    const { negative, gamma } = request.postDataJSON();
    assert.deepEqual({ negative, gamma }, { negative: "stripes", gamma: 0.3 });
  }));

test("a link restores the search", () =>
  on(undefined, {}, async ({ page }) => {
    await fromGallery(page, 4);
    await say(page, MODIFIER);
    await slide(page, "alpha", 0.3);
    await slide(page, "beta", 0.7);
    await page.waitForTimeout(400);
    const [address, before] = [page.url(), await drawn(page)];
    await on(new URL(address).hash, {}, async ({ page: other }) => {
      await other.locator(".card").first().waitFor();
      assert.equal(await other.locator("#modifier").inputValue(), MODIFIER);
      assert.equal(await other.locator("#alpha").inputValue(), "0.3");
      assert.equal(await other.locator("#beta").inputValue(), "0.7");
      assert.deepEqual(await drawn(other), before);
    });
  }));

test("a link to a search by one's own picture says what it lacks", () =>
  on(undefined, {}, async ({ page }) => {
    await answered(page, () => drop(page, files(5, 1)));
    await say(page, MODIFIER);
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.getByRole("button", { name: "Copy a link to this search" }).click();
    await page.getByText("Link copied, without your picture").waitFor();
    const address = await page.evaluate(() => navigator.clipboard.readText());
    await on(new URL(address).hash, {}, async ({ page: other }) => {
      await other.getByText("This link was made with a picture that it cannot hold.").waitFor();
      assert.equal(await other.locator("#modifier").inputValue(), MODIFIER);
      await answered(other, () => drop(other, files(5, 1)));
      assert.deepEqual(await drawn(other), await drawn(page));
    });
  }));

test("twenty dropped files become searchable under the reader's eyes", () =>
  on(`#gallery?in=dropped-${Date.now()}`, {}, async ({ page }) => {
    await page.getByText("Nothing here yet.").waitFor();
    await drop(page, files(700, 20));
    await page.getByText(/of 20 on their way/).waitFor();
    await page.getByText("20 of 20 arrived").waitFor({ timeout: 60_000 });
    assert.equal(await page.locator(".arrival[data-state=captioned]").count(), 20);
    await page.locator(".tile").nth(19).waitFor();
    await page.getByText("20 images, all captioned").waitFor();
    await page.getByRole("button", { name: "Put away" }).click();
    assert.equal(await page.locator(".arrival").count(), 0);
    const answer = await answered(page, () => page.locator(".tile").first().getByRole("button", { name: /^Search from/ }).click());
    assert.equal(answer.candidates.length, 19);
  }));

test("what was not answered is sent again", () =>
  on(`#gallery?in=again-${Date.now()}`, {}, async ({ page, context }) => {
    const dead = (route) => route.abort("connectionrefused");
    await context.route("**/v1/**", dead);
    await drop(page, files(760, 3));
    await page.getByText("3 failed").waitFor();
    await context.unroute("**/v1/**", dead);
    await page.getByRole("button", { name: "Send again" }).click();
    await page.getByText("3 of 3 arrived").waitFor({ timeout: 30_000 });
  }));

test("a file that is no picture is refused with its reason", () =>
  on(`#gallery?in=${collection}`, {}, async ({ page }) => {
    const text = Buffer.from("no picture").toString("base64");
    await drop(page, [{ name: "notes.txt", type: "text/plain", base64: text }, { name: "lies.png", type: "image/png", base64: text }]);
    await page.locator(".arrival.refused, .arrival.failed").nth(1).waitFor();
    const reasons = await page.locator(".arrival .state").allInnerTexts();
    assert.ok(reasons.every((one) => /^(failed|refused): \S/.test(one)), reasons.join(" / "));
  }));

test("an image is deleted after it was confirmed", { skip: real }, () =>
  on("#gallery?in=large", {}, async ({ page, requests }) => {
    await page.locator(".tile .open").first().click();
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("button", { name: "Keep it" }).click();
    assert.ok(!requests.some((one) => one.startsWith("DELETE")));
    const src = await page.locator(".tile .picture").first().getAttribute("src");
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("alertdialog").getByRole("button", { name: "Delete" }).click();
    await page.locator("dialog").waitFor({ state: "detached" });
    assert.equal(await page.locator(`.tile .picture[src="${src}"]`).count(), 0);
    assert.ok(requests.some((one) => one.startsWith("DELETE")));
  }));

test("the gallery reads on to its end", { skip: real }, () =>
  on("#gallery?in=large", {}, async ({ page }) => {
    const all = await newestIds(at.base, "large").then(() => fetch(`${at.base}/v1/collections/large`)).then((r) => r.json());
    for (let i = 0; i < 12 && (await page.locator(".tile").count()) < all.images; i++) {
      await page.mouse.wheel(0, 20_000);
      await page.waitForTimeout(150);
    }
    assert.equal(await page.locator(".tile").count(), all.images);
  }));

test("a gallery larger than the pool says so, and is searched again at the weights", { skip: real }, () =>
  on("#search?in=large", {}, async ({ page }) => {
    await fromGallery(page, 0);
    await say(page, "a red ring");
    await page.getByText(/The sliders order the 300 closest images/).waitFor();
    await slide(page, "alpha", 0.95);
    const answer = await answered(page, () => page.getByRole("button", { name: "Search again at these weights" }).click());
    assert.equal(answer.alpha, 0.95);
    assert.deepEqual(await drawn(page), answer.candidates.slice(0, 50).map((one) => one.image));
  }));

test("filters of the declared fields", { skip: real }, () =>
  on("#search?in=default", {}, async ({ page }) => {
    await fromGallery(page, 0);
    await page.locator(".finer summary").click();
    await page.getByLabel("colour is").fill("red");
    await answered(page, () => page.keyboard.press("Tab"));
    await page.getByLabel("price to", { exact: true }).fill("15");
    const answer = await answered(page, () => page.keyboard.press("Tab"));
    assert.ok(answer.candidates.length > 0);
    assert.ok(answer.candidates.every((one) => one.metadata.colour === "red" && one.metadata.price <= 15));
    await answered(page, () => page.getByLabel("sale is").selectOption("true"));
    await page.waitForURL(/filter=/);
    await page.getByLabel("colour is").fill("mauve");
    await answered(page, () => page.keyboard.press("Tab"));
    await page.getByText("No image meets the filter.").waitFor();
  }));

test("a dead gateway is told of, and the search goes on by itself when it is back", () =>
  on(undefined, {}, async ({ page, context }) => {
    await fromGallery(page, 1);
    const dead = (route) => route.abort("connectionrefused");
    await context.route("**/v1/**", dead);
    await page.fill("#modifier", MODIFIER);
    await page.keyboard.press("Enter");
    await page.getByText("The gateway does not answer.").first().waitFor();
    const answer = await answered(page, () => context.unroute("**/v1/**", dead));
    await page.locator(".notice.error").waitFor({ state: "detached" });
    assert.deepEqual((await drawn(page)).slice(0, 3), answer.candidates.slice(0, 3).map((one) => one.image));
  }));

test("a gateway that is dead from the start, too", () =>
  on(undefined, {}, async ({ page, context }) => {
    const dead = (route) => route.fulfill({ status: 502, body: "bad gateway" });
    await context.route("**/v1/**", dead);
    await page.reload();
    await page.getByText("The gateway does not answer.").first().waitFor();
    await context.unroute("**/v1/**", dead);
    await page.locator(".strip button").first().waitFor();
  }));

test("missing shards, warnings and refusals are shown", { skip: real }, () =>
  on(undefined, {}, async ({ page }) => {
    await faulty({ partial: [1], warnings: ["the modifier is longer than the model reads; its end was not seen"] }, () => fromGallery(page, 0));
    await page.getByText("(shard 1)").waitFor();
    await page.getByText("The modifier is longer than the model reads").waitFor();
    assert.equal(await page.getByText("these are all").count(), 0);
    await faulty({ refuse: [409, "model_mismatch", "the collection is bound to another model"] }, async () => {
      await page.fill("#modifier", "x");
      await page.keyboard.press("Enter");
      await page.getByText("the collection is bound to another model").waitFor();
    });
    await faulty({ refuse: [429, "busy", "too many requests wait"] }, async () => {
      await page.keyboard.press("Enter");
      await page.getByText("too many requests wait").waitFor();
    });
    await page.locator(".notice.error").waitFor({ state: "detached" });
  }));

test("a key is asked for, kept for the tab, and sent with pictures", { skip: real }, () =>
  faulty({ keys: ["open sesame"] }, () =>
    on(undefined, {}, async ({ page }) => {
      await page.getByLabel("API key").fill("wrong");
      await page.keyboard.press("Enter");
      await page.getByText("This key was not accepted.").waitFor();
      const unauthorized = [];
      page.on("response", (one) => one.status() === 401 && unauthorized.push(one.url()));
      await page.getByLabel("API key").fill("open sesame");
      await page.keyboard.press("Enter");
      await page.locator("dialog").waitFor({ state: "detached" });
      const picture = page.locator(".strip img").first();
      await picture.waitFor();
      assert.match(await picture.getAttribute("src"), /^blob:/);
      await fromGallery(page, 0);
      await page.locator(".card").first().waitFor();
      assert.deepEqual(unauthorized, [], "pictures are asked for with the key");
    }),
  ));

test("a new collection is made by its first pictures", () =>
  on(undefined, {}, async ({ page }) => {
    const name = `made-${Date.now()}`;
    await page.getByLabel("Collection").selectOption("New…");
    await page.getByLabel("Its name").fill(name);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name }).waitFor();
    await drop(page, files(740, 1));
    await page.getByText("1 of 1 arrived").waitFor({ timeout: 30_000 });
    await page.getByText("1 image, all captioned").waitFor();
    assert.equal(await page.getByLabel("Collection").inputValue(), name);
  }));

test("an empty collection leads to adding pictures", { skip: real }, () =>
  on("#search?in=empty", {}, async ({ page }) => {
    await page.getByText("empty has no images yet.").waitFor();
    await page.getByRole("button", { name: "Add pictures" }).click();
    await page.getByText("Drop pictures anywhere on this page.").waitFor();
  }));

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing serious: ${colorScheme}`, () =>
    on(undefined, { colorScheme, reducedMotion: "reduce" }, async ({ page }) => {
      const check = async (what) => {
        const { violations } = await new AxeBuilder({ page }).analyze();
        const bad = violations.filter((one) => ["serious", "critical"].includes(one.impact));
        assert.deepEqual(bad.map((one) => `${one.id}: ${one.nodes.map((n) => n.html.slice(0, 140)).slice(0, 3).join(" | ")}`), [], what);
      };
      await check("start");
      await fromGallery(page, 0);
      await say(page, MODIFIER);
      await page.locator(".finer summary").click();
      await page.fill("#negative", "people");
      await page.getByRole("button", { name: "More like result 2", exact: true }).click();
      await page.locator(".judged").waitFor();
      await page.locator(".results[aria-busy=false]").waitFor();
      await check("results");
      await page.locator(".card .open").first().click();
      await page.locator("dialog").waitFor();
      await check("details");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Gallery", exact: true }).click();
      await page.locator(".tile").first().waitFor();
      await check("gallery");
    }));
}

test("all of it by keyboard", () =>
  on(undefined, {}, async ({ page }) => {
    const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent.trim());
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "Skip to the content");
    await page.locator(".strip button").first().focus();
    await answered(page, () => page.keyboard.press("Enter"));
    assert.equal(await page.evaluate(() => document.activeElement.id), "modifier");
    await page.keyboard.type(MODIFIER);
    await answered(page, () => page.keyboard.press("Enter"));
    const open = page.locator(".card .open").first();
    await open.focus();
    await page.keyboard.press("Enter");
    await page.locator("dialog").waitFor();
    await page.keyboard.press("ArrowRight");
    await page.getByText(/^2 of /).waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" });
    assert.match(await focused(), /^Details of result/);
  }));

test("a phone shows it without scrolling sideways, with controls that a thumb can hit", () =>
  on(undefined, { viewport: { width: 375, height: 720 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 }, async ({ page }) => {
    const sideways = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(await sideways(), 0, "start");
    await answered(page, () => page.locator(".strip button").first().tap());
    await say(page, MODIFIER);
    assert.equal(await sideways(), 0, "results");
    const small = await page.locator("button:visible, select:visible").evaluateAll((all) =>
      all.filter((one) => !one.closest(".slider, .judged")).map((one) => [one.textContent.trim() || one.getAttribute("aria-label"), one.getBoundingClientRect().height]).filter(([, height]) => height < 36),
    );
    assert.deepEqual(small, []);
    await page.locator(".card .open").first().tap();
    assert.equal(await sideways(), 0, "details");
    await page.getByRole("button", { name: "Close" }).tap();
    await page.getByRole("button", { name: "Gallery", exact: true }).tap();
    await page.locator(".tile").first().waitFor();
    assert.equal(await sideways(), 0, "gallery");
  }));

test("the first load is small, and asks nobody else", async () => {
  const context = await at.browser.newContext();
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send("Network.enable");
  const own = new Map();
  const kinds = new Map();
  const strangers = [];
  cdp.on("Network.responseReceived", ({ requestId, response }) => {
    if (!response.url.startsWith(at.base) && !response.url.startsWith("data:")) strangers.push(response.url);
    else if (!new URL(response.url).pathname.startsWith("/v1/")) kinds.set(requestId, response.url);
  });
  cdp.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => own.set(requestId, encodedDataLength));
  await page.goto(`${at.base}/`, { waitUntil: "networkidle" });
  const bytes = [...kinds.keys()].reduce((all, id) => all + (own.get(id) ?? 0), 0);
  console.log(`first load: ${(bytes / 1024).toFixed(1)} KB compressed in ${kinds.size} files`);
  assert.deepEqual(strangers, []);
  assert.ok(kinds.size > 5 && bytes > 0 && bytes < 150 * 1024, `${bytes} bytes`);
  await context.close();
});

test("how long results take from the answer to the screen (measured, not judged)", () =>
  on(undefined, {}, async ({ page }) => {
    await fromGallery(page, 0);
    for (const text of ["is red", "is blue", "is green", "with a star", "on a ground"]) await say(page, text);
    await page.waitForTimeout(500);
    for (const name of ["results-built", "results-drawn"]) {
      const took = await page.evaluate((of) => performance.getEntriesByName(of).map((one) => one.duration), name);
      const sorted = took.toSorted((a, b) => a - b);
      console.log(`answer to ${name}, 50 cards: median ${sorted[Math.floor(sorted.length / 2)].toFixed(0)} ms, worst ${sorted.at(-1).toFixed(0)} ms of ${sorted.length}`);
      assert.ok(took.length >= 6);
    }
  }));
