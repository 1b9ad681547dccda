import { expect, test } from "vitest";

import type { Answer } from "../src/api";
import { type View, nextLook, viewOf } from "../src/view";
import { rawRecord, rawRun } from "./fixtures";

const MISSING: Answer = { kind: "missing" };

function task(state: string | null): Answer {
  return { kind: "found", body: { state, try_number: 2, max_tries: 3 } };
}

function xcom(value: unknown): Answer {
  return { kind: "found", body: { value } };
}

const RUNNING = xcom(rawRecord(rawRun({ state: "running" })));
const ENDED = xcom(rawRecord(rawRun()));

test.each<[string, Answer, Answer, number, Partial<View>]>([
  ["a run that goes on", task("running"), RUNNING, -1, { kind: "runs", cutShort: false }],
  ["a run that is over", task("failed"), ENDED, -1, { kind: "runs", cutShort: false }],
  ["a task that was killed", task("failed"), RUNNING, -1, { kind: "runs", cutShort: true }],
  ["a task that was killed and will be tried again", task("up_for_retry"), RUNNING, -1, { kind: "runs", cutShort: true }],
  ["a task that may not be seen", { kind: "forbidden" }, RUNNING, -1, { kind: "runs", task: null }],
  ["a task that has just begun", task("running"), MISSING, -1, { kind: "waiting", task: { state: "running", tryNumber: 2, maxTries: 3 } }],
  ["a task that waits for its next try", task("up_for_retry"), MISSING, -1, { kind: "waiting" }],
  ["a task without a fan-out", task("success"), MISSING, -1, { kind: "empty" }],
  ["a record without runs", task("success"), xcom({ version: 1, runs: [] }), -1, { kind: "empty" }],
  ["a mapped task", MISSING, MISSING, -1, { kind: "mapped" }],
  ["a mapped instance without a record", task("success"), MISSING, 2, { kind: "empty" }],
  ["no right to XComs", task("success"), { kind: "forbidden" }, -1, { kind: "forbidden" }],
  ["a session that has ended", { kind: "signed out" }, { kind: "signed out" }, -1, { kind: "signed out" }],
  ["no server", { kind: "unreachable", why: "x" }, { kind: "unreachable", why: "x" }, -1, { kind: "unreachable" }],
  ["no record, and no word on the task", { kind: "unreachable", why: "x" }, MISSING, -1, { kind: "unreachable" }],
  ["a storage elsewhere", task("success"), xcom("s3://x"), -1, { kind: "elsewhere", reference: "s3://x" }],
  ["a later version", task("success"), xcom({ version: 2 }), -1, { kind: "unknown", version: "2" }],
])("%s has a state of its own", (_, taskAnswer, xcomAnswer, mapIndex, expected) => {
  expect(viewOf(taskAnswer, xcomAnswer, mapIndex)).toMatchObject(expected);
});

test("the page looks every two seconds while the task runs, less often while it waits, and stops at the end", () => {
  expect(nextLook(viewOf(task("running"), RUNNING, -1), 0)).toBe(2000);
  expect(nextLook(viewOf(task("running"), MISSING, -1), 0)).toBe(2000);
  expect(nextLook(viewOf(task("queued"), MISSING, -1), 0)).toBe(5000);
  expect(nextLook(viewOf(task("deferred"), ENDED, -1), 0)).toBe(5000);
  expect(nextLook(viewOf(task("success"), ENDED, -1), 0)).toBeNull();
  expect(nextLook(viewOf({ kind: "forbidden" }, RUNNING, -1), 0)).toBe(2000);
  expect(nextLook(viewOf({ kind: "forbidden" }, ENDED, -1), 0)).toBeNull();
  expect(nextLook({ kind: "forbidden" }, 0)).toBeNull();
  expect(nextLook({ kind: "loading" }, 0)).toBe(2000);
});

test("a server that does not answer is asked ever more seldom", () => {
  const waits = [1, 2, 3, 4, 5, 9].map((failures) => nextLook({ kind: "unreachable", why: "x" }, failures));
  expect(waits).toEqual([2000, 4000, 8000, 16_000, 30_000, 30_000]);
});
