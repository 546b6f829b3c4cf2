// plane.js against NumPy's numbers (expect.py), and the small pure modules beside it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { factors, firsts, rank, region, weigh } from "../../../services/gateway/page/static/plane.js";
import { filterOf } from "../../../services/gateway/page/static/filters.js";
import { emptyQuery, fromHash, toHash } from "../../../services/gateway/page/static/link.js";

const cases = JSON.parse(readFileSync(new URL("expected.json", import.meta.url), "utf8"));
const near = (got, want, what) => assert.ok(got === want || Math.abs(got - want) < 1e-12, `${what}: ${got}, expected ${want}`);

for (const { name, candidates, norms, at, firsts: expectedFirsts } of cases) {
  test(`scores: ${name}`, () => {
    for (const point of at) {
      candidates.forEach((one, i) => {
        const got = weigh(one.components, norms, point.alpha, point.beta);
        const where = `${one.image} at ${point.alpha}, ${point.beta}`;
        assert.ok(Math.abs(got.similarity - point.similarity[i]) <= 6e-8, where);
        assert.equal(got.similarity, Math.fround(got.similarity), where);
        near(got.s_img, point.s_img[i], where);
        near(got.s_txt, point.s_txt[i], where);
        near(got.pixels.reference + got.pixels.modifier, point.s_img[i], where);
        assert.equal(got.shares.length, point.captions[i].length, where);
        got.shares.forEach((share, r) => near(share.reference + share.modifier, point.captions[i][r], where));
      });
    }
  });

  test(`order: ${name}`, () => {
    for (const { alpha, beta, order } of at) {
      assert.deepEqual(rank(candidates, norms, alpha, beta).map((one) => one.image), order);
    }
  });

  test(`who is first on the plane: ${name}`, () => {
    assert.deepEqual(firsts(candidates, norms), expectedFirsts);
  });
}

test("opposites cancel each other out, and only there", () => {
  const norms = { image: { reference: 4, cross: -4, modifier: 4 }, captions: [] };
  const candidates = [{ image: "a", components: { image: { reference: 1, modifier: -1 }, captions: [] } }];
  assert.equal(factors(norms.image, 0.5), null);
  assert.equal(rank(candidates, norms, 0.5, 0), null);
  assert.equal(rank(candidates, norms, 0.25, 0).length, 1);
  const map = firsts(candidates, norms, 3);
  assert.deepEqual(map, ["a", "", "a", "a", "", "a", "a", "", "a"]);
});

test("a region is drawn with β upwards", () => {
  // rows of β from 0 up: a a b / b b b
  const map = ["a", "a", "b", "b", "b", "b", "b", "a", "b"];
  assert.equal(region(map, "a", 3), "M0 2h2v1h-2zM1 0h1v1h-1z");
  assert.equal(region(map, "b", 3), "M2 2h1v1h-1zM0 1h3v1h-3zM0 0h1v1h-1zM2 0h1v1h-1z");
});

test("controls become the README's filter", () => {
  const fields = { colour: "keyword", price: "float", made: "timestamp", sale: "boolean" };
  assert.equal(filterOf({}, fields), null);
  assert.equal(filterOf({ colour: { is: "" }, gone: { is: "x" } }, fields), null);
  assert.deepEqual(filterOf({ colour: { is: "red" } }, fields), { field: "colour", is: "red" });
  assert.deepEqual(filterOf({ price: { from: "5", to: "20" }, sale: { is: "false" } }, fields), {
    and: [{ field: "price", range: { gte: 5, lte: 20 } }, { field: "sale", is: false }],
  });
  const made = filterOf({ made: { from: "2026-01-31T12:00:00Z" } }, fields);
  assert.deepEqual(made, { field: "made", range: { gte: "2026-01-31T12:00:00.000Z" } });
});

test("a link holds the whole search", () => {
  const query = {
    ...emptyQuery("shop & co"),
    reference: { id: "abc" },
    modifier: "is green, with a #1 & 50 % more",
    alpha: 0.35,
    beta: 0,
    textReference: "caption",
    negative: "people",
    gamma: 0.5,
    more: ["a", "b"],
    less: ["c"],
    filter: { price: { from: "5" } },
  };
  assert.deepEqual(fromHash(toHash("search", query)), { view: "search", query });
  const own = { ...query, reference: { file: null, name: "me.jpg", url: "blob:x" } };
  assert.deepEqual(fromHash(toHash("search", own)).query.reference, { lost: true });
  assert.equal(fromHash(toHash("gallery", query)).query.collection, "shop & co");
});

test("a link that was cut or changed by hand is read as far as it goes", () => {
  assert.equal(fromHash(""), null);
  assert.equal(fromHash("#elsewhere?in=x"), null);
  const { query } = fromHash("#search?alpha=7&beta=x&filter=%7B%22a&gamma=");
  assert.deepEqual(query, emptyQuery(""));
  assert.deepEqual(fromHash("#search?filter=%5B1%5D").query.filter, {});
});
