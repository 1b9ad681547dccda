/** A run as a task records it. */

import { type Run, parse } from "../src/record";

const RAW = {
  function: "thumbnail",
  backend: "multiprocessing",
  workers: 2,
  state: "failed",
  began: "2026-01-01T00:00:00.000+00:00",
  ended: "2026-01-01T00:00:10.000+00:00",
  updated: "2026-01-01T00:00:10.000+00:00",
  items: { total: 10, done: 8, failed: 2, skipped: 1, earlier: 0, retried: 4 },
  rate: 1,
  seconds_left: null,
  timeline: [
    [1, 0.5, 4.5, 4, 3, 1],
    [0, 0, 4, 0, 4, 0],
    [0, 5, 9, 7, 3, 1],
  ],
  durations: { edges: [0, 0.1, 1, 10], counts: [0, 6, 4] },
  slowest: [{ index: 7, label: "g.png", seconds: 3.1 }],
  failures: [
    { index: 4, item: "d.png", error_type: "builtins.ValueError", message: "too wide", tries: 3 },
    { index: 8, item: "=cmd()", error_type: "builtins.OSError", message: 'a "quoted", word', tries: 1 },
  ],
  time: { start: 0.2, running: 8, sending: 0.8, end: 1 },
};

export function rawRun(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { ...RAW, ...changes };
}

export function rawRecord(...runs: readonly Record<string, unknown>[]): Record<string, unknown> {
  return { version: 1, runs };
}

export function aRun(changes: Record<string, unknown> = {}): Run {
  const parsed = parse(rawRecord(rawRun(changes)));
  if (parsed.kind !== "runs" || parsed.runs[0] === undefined) throw new Error("no run");
  return parsed.runs[0];
}
