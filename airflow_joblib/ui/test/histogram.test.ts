import { expect, test } from "vitest";

import { bars, quantile } from "../src/histogram";

test("empty ends are left out, and empty bars between others are not", () => {
  const all = bars({ edges: [0, 1, 2, 4, 8, 16], counts: [0, 3, 0, 1, 0] });
  expect(all.map((bar) => [bar.label, bar.count])).toEqual([
    ["1.00 s to 2.00 s", 3],
    ["2.00 s to 4.00 s", 0],
    ["4.00 s to 8.00 s", 1],
  ]);
});

test("the last bar is open where it has no upper edge", () => {
  expect(bars({ edges: [0, 1], counts: [0, 2] })[0]?.label).toBe("1.00 s or more");
  expect(bars({ edges: [0, 1, 1e9], counts: [0, 2] })[0]?.label).toBe("1.00 s or more");
});

test("nothing gives no bars and no quantile", () => {
  expect(bars({ edges: [], counts: [] })).toEqual([]);
  expect(quantile([], 0.5)).toBeNull();
});

test("a quantile lies within its bar", () => {
  const all = bars({ edges: [0, 1, 2], counts: [5, 5] });
  expect(quantile(all, 0.5)).toBe(1);
  expect(quantile(all, 0.75)).toBe(1.5);
});
