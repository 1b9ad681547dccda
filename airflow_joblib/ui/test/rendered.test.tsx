import * as React from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";

import type { Place, Task } from "../src/api";
import { Notice } from "../src/components/notice";
import { Runs } from "../src/components/runs";
import FanOut from "../src/main";
import type { View } from "../src/view";
import { aRun } from "./fixtures";

const PLACE: Place = { dagId: "d", runId: "r", taskId: "t", mapIndex: -1 };
const aTask = (state: string | null, tryNumber: number): Task => ({ state, tryNumber, maxTries: 3 });
const nothing = (): void => undefined;

function shown(view: Exclude<View, { kind: "loading" }>, trouble: string | null = null): string {
  return renderToStaticMarkup(
    view.kind === "runs" ? (
      <Runs again={nothing} place={PLACE} trouble={trouble} view={view} />
    ) : (
      <Notice again={nothing} place={PLACE} trouble={trouble} view={view} />
    ),
  );
}

test("the tab begins by loading", () => {
  expect(renderToStaticMarkup(<FanOut dagId="d" runId="r" taskId="t" />)).toContain("Loading the record");
});

test("text of items and errors is shown as text", () => {
  const evil = "<img src=x onerror=alert(1)>";
  const run = aRun({
    function: evil,
    slowest: [{ index: 1, label: evil, seconds: 1 }],
    failures: [{ index: 1, item: evil, error_type: evil, message: evil, tries: 1 }],
  });
  const html = shown({ kind: "runs", runs: [run], task: null, cutShort: false });
  expect(html).not.toContain("<img");
  expect(html).toContain("&lt;img");
});

test("a run without any figures can be shown", () => {
  const run = aRun({ timeline: [], durations: {}, slowest: [], failures: [], time: {}, items: {}, state: "running" });
  expect(shown({ kind: "runs", runs: [run], task: null, cutShort: false })).toContain("running");
});

test("a choice is offered where there are several runs, and the last is shown", () => {
  const runs = [aRun({ function: "first" }), aRun({ function: "second" })];
  const html = shown({ kind: "runs", runs, task: null, cutShort: false });
  expect(html).toContain("<select");
  expect(html).toContain("<code>second</code>");
});

test("a run that its task did not outlive says so", () => {
  const html = shown({ kind: "runs", runs: [aRun({ state: "running" })], task: null, cutShort: true });
  expect(html).toContain("cut short");
});

test.each([
  ["up_for_retry", 2, "Try 2 failed, and the task will be tried again.", " · try 2 · "],
  ["queued", 2, "The task&#x27;s state is queued.", "multiprocessing · "],
  [null, 2, "The task&#x27;s state is none yet.", "multiprocessing · "],
])("between two tries (%s) the record of the one before is shown as such", (state, tryNumber, said, head) => {
  const html = shown({ kind: "runs", runs: [aRun()], task: aTask(state, tryNumber), cutShort: false });
  expect(html).toContain(said);
  expect(html).toContain(head);
});

test("what was seen stays while the server does not answer", () => {
  const html = shown({ kind: "runs", runs: [aRun()], task: null, cutShort: false }, "HTTP 502");
  expect(html).toContain("HTTP 502");
  expect(html).toContain("thumbnail");
});

test.each<[Exclude<View, { kind: "loading" | "runs" }>, string]>([
  [{ kind: "empty" }, "This task made no fan-out"],
  [{ kind: "waiting", task: aTask("running", 1) }, "Nothing is recorded so far. "],
  [{ kind: "waiting", task: aTask("running", 2) }, "Nothing is recorded so far in try 2. "],
  [{ kind: "waiting", task: aTask("queued", 1) }, "queued"],
  [{ kind: "mapped" }, "This task is mapped"],
  [{ kind: "forbidden" }, "No permission"],
  [{ kind: "signed out" }, "You are signed out"],
  [{ kind: "elsewhere", reference: "s3://x" }, "s3://x"],
  [{ kind: "unknown", version: "2" }, "version is 2"],
  [{ kind: "unreachable", why: "HTTP 500" }, "HTTP 500"],
])("%j says what is the case", (view, said) => {
  expect(shown(view)).toContain(said);
});
