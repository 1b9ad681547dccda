/** Where the time of a run went, and what would help: the same advice as the task's log gives. */

import { percent, seconds } from "./format";
import type { Run } from "./record";

export interface Part {
  readonly name: string;
  readonly meaning: string;
  readonly seconds: number;
  readonly kind: "start" | "running" | "sending" | "rate" | "end";
}

export function parts(run: Run): readonly Part[] {
  const { start, running, sending, rate, end } = run.time;
  const found: readonly Part[] = [
    { kind: "start", name: "Start", meaning: "until the first item ran", seconds: start },
    { kind: "running", name: "Running", meaning: "items, on the average of the workers", seconds: running },
    { kind: "sending", name: "Sending", meaning: "results, and waits for the next items", seconds: sending },
    { kind: "rate", name: "Rate", meaning: "waits until the next item might start by rate_limit", seconds: rate },
    { kind: "end", name: "End", meaning: "idle, while other workers still ran items", seconds: end },
  ];
  return found.filter((part) => part.kind !== "rate" || part.seconds > 0);
}

/** Seconds below which nothing is worth a change. */
const SHORT = 0.5;
/** Share of the time from which on the workers were as busy as they can be. */
const BUSY = 0.8;

export function advice(run: Run): string {
  if (run.advice !== null) return run.advice;
  const { start, running, sending, rate, end } = run.time;
  const all = start + running + sending + rate + end;
  if (all <= 0) return "";
  const busy = `The workers were busy for ${percent(running, all)} of the time`;
  if (rate >= Math.max(start, sending, end) && rate > 0) {
    return `${busy}, and waited for the rate for ${percent(rate, all)} of it.`;
  }
  if (running / all >= BUSY || all < SHORT) return `${busy}.`;
  return `${busy}: ${lost(run, start, sending, end)}.`;
}

function lost(run: Run, start: number, sending: number, end: number): string {
  if (start >= Math.max(sending, end)) {
    return `starting the workers took ${seconds(start)}; for so little work use n_jobs=1`;
  }
  if (end > sending) return "most workers had nothing to do at the end; use fewer n_jobs, or smaller items";
  if (run.backend === "threading") {
    return "threads take turns at running Python code; use a backend of processes, as 'loky'";
  }
  return "sending took the most; let an item do more work, or set a larger batch_size";
}
