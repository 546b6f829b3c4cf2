// Pictures of the page for the README: docs/page-search.png and docs/page-gallery.png, of a gateway
// at BASE_URL (else the mock). COLLECTION, LIKE (an image's id; else the newest), BUT and THEME
// (light or dark) choose what they show.

import { fileURLToPath } from "node:url";
import { answered, collection, newestIds, open, visit } from "./browser.mjs";

const path = (name) => fileURLToPath(new URL(`../../docs/${name}`, import.meta.url));

const at = await open();
const like = process.env.LIKE ?? (await newestIds(at.base))[0];
const { page } = await visit(at, `#search?in=${collection}&like=${like}`, { colorScheme: process.env.THEME ?? "light" });

async function settled() {
  await page.mouse.move(0, 0);
  await page.evaluate(() => document.activeElement?.blur());
  await page.waitForFunction(() => [...document.images].every((one) => one.complete || one.getBoundingClientRect().top > innerHeight));
  await page.waitForTimeout(800);
}

await page.locator(".card").first().waitFor();
await answered(page, async () => {
  await page.fill("#modifier", process.env.BUT ?? "is green with a star");
  await page.keyboard.press("Enter");
});
await settled();
await page.screenshot({ path: path("page-search.png") });
await page.getByRole("button", { name: "Gallery", exact: true }).click();
await page.locator(".tile").first().waitFor();
await settled();
await page.screenshot({ path: path("page-gallery.png") });
await at.close();
