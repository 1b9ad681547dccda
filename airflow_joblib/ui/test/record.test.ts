import { expect, test } from "vitest";

import { finished, parse, ran, wall } from "../src/record";
import { aRun, rawRecord, rawRun } from "./fixtures";

test("a record is read as it is, as JSON text, and as JSON text within JSON text", () => {
  const record = rawRecord(rawRun());
  const read = parse(record);
  expect(read.kind).toBe("runs");
  expect(parse(JSON.stringify(record))).toEqual(read);
  expect(parse(JSON.stringify(JSON.stringify(record)))).toEqual(read);
});

test("text that is no JSON is the reference of a storage elsewhere", () => {
  expect(parse("s3://xcoms/dag/run/fan_out")).toEqual({ kind: "elsewhere", reference: "s3://xcoms/dag/run/fan_out" });
});

test.each([[{ version: 2, runs: [] }, "2"], [{ runs: [] }, "none"], [[1], "none"], [null, "none"]])(
  "%j is a record of an unknown version",
  (value, version) => {
    expect(parse(value)).toEqual({ kind: "unknown", version });
  },
);

test("fields that are missing or of another kind leave a run that can be shown", () => {
  const parsed = parse({ version: 1, runs: [{}, { items: 3, timeline: [[1]], failures: "x", rate: "fast" }] });
  if (parsed.kind !== "runs") throw new Error(parsed.kind);
  expect(parsed.runs).toHaveLength(2);
  expect(parsed.runs[1]?.timeline).toEqual([[1, 0, 0, 0, 0, 0]]);
  expect(parsed.runs[1]?.rate).toBe(0);
  expect(wall(parsed.runs[0] ?? aRun())).toBe(0);
});

test("finished items are those that are done or failed; the skipped ones are among the done", () => {
  expect(finished(aRun().items)).toBe(10);
  expect(ran(aRun().items)).toBe(7);
});

test("a run has lasted until its last record, or its end", () => {
  expect(wall(aRun())).toBe(10);
  expect(wall(aRun({ ended: null, updated: "2026-01-01T00:00:04.500+00:00" }))).toBe(4.5);
});
