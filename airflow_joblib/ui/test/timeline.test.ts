import { expect, test } from "vitest";

import type { Span } from "../src/record";
import { describe, extent, labels, lanes, moved, summary, ticks } from "../src/timeline";
import { aRun } from "./fixtures";

const ALL = lanes(aRun().timeline);

test("each worker has a lane, by number, whose parts are in order", () => {
  expect(ALL.map(({ worker, busy, items, failed }) => ({ worker, busy, items, failed }))).toEqual([
    { worker: 0, busy: 8, items: 7, failed: 1 },
    { worker: 1, busy: 4, items: 3, failed: 1 },
  ]);
});

test("items that one worker runs at the same time count once for how busy it was", () => {
  const together: readonly Span[] = [
    [0, 0, 4, 0, 1, 0],
    [0, 1, 3, 1, 1, 0],
    [0, 3, 6, 2, 1, 0],
  ];
  expect(lanes(together)[0]?.busy).toBe(6);
});

test("the axis ends with the run or its last part, and is never without length", () => {
  expect(extent(aRun().timeline, 10)).toBe(10);
  expect(extent(aRun().timeline, 3)).toBe(9);
  expect(extent([], 0)).toBeGreaterThan(0);
});

test("a part says items, label, seconds, failures and worker", () => {
  expect(describe([0, 5, 9, 7, 4, 1], labels(aRun()))).toEqual({
    title: "4 items, from item 7 on",
    lines: ["g.png", "4.00 s, from 5.00 s to 9.00 s", "1.00 s an item", "1 failed", "worker 0"],
  });
  expect(describe([1, 0, 0.5, 4, 1, 1], labels(aRun())).lines).toContain("failed");
});

test.each([
  ["ArrowRight", { lane: 0, span: 0 }, { lane: 0, span: 1 }],
  ["ArrowRight", { lane: 0, span: 1 }, { lane: 0, span: 1 }],
  ["ArrowLeft", { lane: 0, span: 0 }, { lane: 0, span: 0 }],
  ["ArrowDown", { lane: 0, span: 1 }, { lane: 1, span: 0 }],
  ["ArrowUp", { lane: 1, span: 0 }, { lane: 0, span: 0 }],
  ["End", { lane: 0, span: 0 }, { lane: 0, span: 1 }],
  ["Home", { lane: 0, span: 1 }, { lane: 0, span: 0 }],
])("%s leads from %j to %j", (key, from, to) => {
  expect(moved(from, key, ALL)).toEqual(to);
});

test("other keys move nothing", () => {
  expect(moved({ lane: 0, span: 0 }, "a", ALL)).toBeUndefined();
});

test("a sentence says what the chart shows", () => {
  expect(summary(ALL, 10)).toBe("2 workers over 10.0 s, busy for 60 % of the time, 2 failed items.");
  expect(summary([], 1)).toBe("0 workers over 1.00 s, busy for 0 % of the time, 0 failed items.");
});

test.each([
  [0.5, "0.00 s", "0.50 s"],
  [21, "0 s", "20 s"],
  [1157, "0 min", "18 min"],
  [40_000, "0 h", "11 h"],
])("an axis of %d seconds has round places, from %s to %s", (until, first, last) => {
  const all = ticks(until);
  expect([all[0]?.[1], all.at(-1)?.[1]]).toEqual([first, last]);
  expect(all.at(-1)?.[0]).toBeLessThanOrEqual(until);
});
