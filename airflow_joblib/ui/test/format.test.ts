import { expect, test } from "vitest";

import { count, percent, plural, rate, seconds, when } from "../src/format";

test.each([
  [0, "0 s"],
  [0.0002, "< 1 ms"],
  [0.0123, "12 ms"],
  [0.9996, "1.00 s"],
  [4.212, "4.21 s"],
  [9.996, "10.0 s"],
  [57.31, "57.3 s"],
  [59.97, "1 min 00 s"],
  [185, "3 min 05 s"],
  [3599.6, "1 h 00 min"],
  [7800, "2 h 10 min"],
])("%d seconds are %s", (value, said) => {
  expect(seconds(value)).toBe(said);
});

test.each([
  [0, "–"],
  [12.54, "12.5/s"],
  [1234.5, "1,235/s"],
  [0.5, "30.0/min"],
  [0.01, "36.0/h"],
])("a rate of %d is %s", (value, said) => {
  expect(rate(value)).toBe(said);
});

test.each([
  [0, 10, "0 %"],
  [1, 1000, "< 1 %"],
  [5, 10, "50 %"],
  [9_999, 10_000, "> 99 %"],
  [10, 10, "100 %"],
  [1, 0, "0 %"],
])("%d of %d are %s", (part, whole, said) => {
  expect(percent(part, whole)).toBe(said);
});

test("counts have separators and plurals", () => {
  expect(count(100_000)).toBe("100,000");
  expect(plural(1, "item")).toBe("1 item");
  expect(plural(2, "item")).toBe("2 items");
});

test("a time that can't be read is shown as it is", () => {
  expect(when("soon")).toBe("soon");
  expect(when("2026-01-05T09:30:00Z")).toMatch(/^2026-01-05 \d\d:30:00$/);
});
