// How long the page takes to draw an answer of 50 candidates, of a gateway at BASE_URL (else the mock):
// from the answer's last byte to its cards being in the document, and to the frame that shows them.

import { answered, collection, newestIds, open, visit } from "./browser.mjs";

const WORDS = ["red", "green", "blue", "yellow", "black", "white", "grey", "pink", "orange", "purple", "brown"];

const at = await open();
const [like] = await newestIds(at.base);
const { page } = await visit(at, `#search?in=${collection}&like=${like}`);
await page.locator(".card").first().waitFor();
await page.evaluate(() => {
  window.shown = [];
  new MutationObserver(() => {
    const [answer] = performance.getEntriesByType("resource").filter((one) => one.name.endsWith("/v1/search")).slice(-1);
    const busy = document.querySelector(".results")?.getAttribute("aria-busy") !== "false";
    if (busy || !answer || window.shown.some((one) => one.answer === answer.responseEnd)) return;
    const one = { answer: answer.responseEnd, cards: document.querySelectorAll(".card").length, document: performance.now() };
    window.shown.push(one);
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      // because: a message that is sent in a frame arrives after it was painted
      port1.onmessage = () => (one.frame = performance.now());
      port2.postMessage(null);
    });
  }).observe(document.body, { subtree: true, childList: true, attributes: true });
});
for (const word of WORDS) {
  await answered(page, async () => {
    await page.fill("#modifier", `is ${word}`);
    await page.keyboard.press("Enter");
  });
  // because: pictures that still load would be in the way of the next
  await page.waitForLoadState("networkidle");
}
// because: nothing is warm at the first
const shown = (await page.evaluate(() => window.shown)).slice(1);
const row = (name, times) => {
  times.sort((a, b) => a - b);
  console.log(`| ${name} | ${times[times.length >> 1].toFixed(0)} | ${times.at(-1).toFixed(0)} |`);
};
console.log(`${shown.length} answers of ${shown[0].cards} candidates, milliseconds after the answer\n`);
console.log("| | median | most |\n|---|---|---|");
row("cards in the document", shown.map((one) => one.document - one.answer));
row("on the screen", shown.map((one) => one.frame - one.answer));
await at.close();
if (shown.length !== WORDS.length - 1 || shown.some((one) => one.cards !== 50)) throw new Error(`not all was seen: ${JSON.stringify(shown)}`);
