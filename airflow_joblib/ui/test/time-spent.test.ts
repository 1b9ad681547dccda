import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { advice, parts } from "../src/time-spent";
import { aRun } from "./fixtures";

const LOG = readFileSync(new URL("../../fan_out/run_stats.py", import.meta.url), "utf8").replaceAll(/"\s+f?"/g, "");

function time(start: number, running: number, sending: number, end: number): { time: Record<string, number> } {
  return { time: { start, running, sending, end } };
}

test.each([
  ["loky", time(5, 1, 1, 1), "for so little work use "],
  ["loky", time(1, 1, 1, 5), "most workers had nothing to do at the end; use fewer n_jobs, or smaller items"],
  ["threading", time(1, 1, 5, 1), "a backend of processes, as 'loky'"],
  ["loky", time(1, 1, 5, 1), "sending took the most; let an item do more work, or set a larger batch_size"],
])("the advice on %s with %j is the log's", (backend, spent, said) => {
  expect(advice(aRun({ backend, ...spent }))).toContain(said);
  expect(LOG).toContain(said);
});

test("a run whose workers were busy has no advice, nor has one that was short", () => {
  expect(advice(aRun(time(0.1, 9, 0.1, 0.1)))).toBe("The workers were busy for 97 % of the time.");
  expect(advice(aRun(time(0.1, 0.1, 0, 0)))).toBe("The workers were busy for 50 % of the time.");
  expect(advice(aRun(time(0, 0, 0, 0)))).toBe("");
});

test("advice that the record has goes before", () => {
  expect(advice(aRun({ advice: "Use fewer n_jobs." }))).toBe("Use fewer n_jobs.");
});

test("a run that waited for its rate says so, and has that part", () => {
  const run = aRun({ time: { start: 0.1, running: 1, sending: 0.1, rate: 8.8, end: 0 } });
  expect(advice(run)).toBe("The workers were busy for 10 % of the time, and waited for the rate for 88 % of it.");
  expect(parts(run).map((part) => part.kind)).toEqual(["start", "running", "sending", "rate", "end"]);
  expect(parts(aRun()).map((part) => part.kind)).not.toContain("rate");
});

test("the parts are all of the time", () => {
  expect(parts(aRun()).reduce((sum, part) => sum + part.seconds, 0)).toBe(10);
});
