/** What the tab has to show, from the answers of the server: one state for each thing that can be the case. */

import { type Answer, type Task, asTask } from "./api";
import { type Run, parse } from "./record";

export type View =
  | { readonly kind: "loading" }
  | { readonly kind: "runs"; readonly runs: readonly Run[]; readonly task: Task | null; readonly cutShort: boolean }
  | { readonly kind: "waiting"; readonly task: Task }
  | { readonly kind: "empty" }
  | { readonly kind: "mapped" }
  | { readonly kind: "forbidden" }
  | { readonly kind: "signed out" }
  | { readonly kind: "elsewhere"; readonly reference: string }
  | { readonly kind: "unknown"; readonly version: string }
  | { readonly kind: "unreachable"; readonly why: string };

const OVER = new Set(["success", "failed", "skipped", "upstream_failed", "removed"]);

export function isOver(state: string | null): boolean {
  return state !== null && OVER.has(state);
}

/** Whether the task is between two tries, or before its first: what is recorded is of the try before. */
export function isBetweenTries({ state }: Task): boolean {
  return state !== "running" && !isOver(state);
}

export function viewOf(taskAnswer: Answer, xcomAnswer: Answer, mapIndex: number): View {
  const task = taskAnswer.kind === "found" ? asTask(taskAnswer.body) : null;
  switch (xcomAnswer.kind) {
    case "found":
      return recorded((xcomAnswer.body as { value?: unknown }).value, task);
    case "missing":
      return notRecorded(taskAnswer, task, mapIndex);
    default:
      return xcomAnswer;
  }
}

function recorded(value: unknown, task: Task | null): View {
  const parsed = parse(value);
  if (parsed.kind !== "runs") return parsed;
  if (parsed.runs.length === 0) return { kind: "empty" };
  const last = parsed.runs.at(-1);
  const cutShort = task !== null && task.state !== "running" && last?.state === "running";
  return { kind: "runs", runs: parsed.runs, task, cutShort };
}

function notRecorded(taskAnswer: Answer, task: Task | null, mapIndex: number): View {
  if (taskAnswer.kind === "missing" && mapIndex < 0) return { kind: "mapped" };
  if (taskAnswer.kind === "unreachable" || taskAnswer.kind === "signed out") return taskAnswer;
  if (task !== null && !isOver(task.state)) return { kind: "waiting", task };
  return { kind: "empty" };
}

const LIVE = 2_000;
const CALM = 5_000;
const LONGEST = 30_000;

/** Milliseconds until the next look; null when there is nothing more to come. */
export function nextLook(view: View, failures: number): number | null {
  switch (view.kind) {
    case "unreachable":
      return Math.min(LONGEST, LIVE * 2 ** Math.max(0, failures - 1));
    case "runs":
      return afterRuns(view);
    case "waiting":
      return view.task.state === "running" ? LIVE : CALM;
    case "loading":
      return LIVE;
    default:
      return null;
  }
}

function afterRuns(view: Extract<View, { kind: "runs" }>): number | null {
  if (view.task === null) return view.runs.at(-1)?.state === "running" ? LIVE : null;
  if (isOver(view.task.state)) return null;
  return view.task.state === "running" ? LIVE : CALM;
}
