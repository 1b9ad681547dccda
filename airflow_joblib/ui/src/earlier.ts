/** The same task in earlier runs of its DAG. */

import { type Place, dagRunPath, earlierRunsPath, get, getXcom } from "./api";
import { type Run, parse } from "./record";

const LOOKED_AT = 11;

export interface Earlier {
  readonly runId: string;
  readonly when: string;
  readonly run: Run;
}

interface DagRun {
  readonly dag_run_id: string;
  readonly run_after?: string;
}

/** The last fan-out of the task in each of the DAG's runs before this one, the latest first. */
export async function earlier(place: Place, stop: AbortSignal): Promise<readonly Earlier[]> {
  const own = await get(dagRunPath(place), stop);
  const before = own.kind === "found" ? (own.body as DagRun).run_after : undefined;
  const until = before === undefined ? "" : `&run_after_lte=${encodeURIComponent(before)}`;
  const answer = await get(earlierRunsPath(place, LOOKED_AT) + until, stop);
  if (answer.kind !== "found") return [];
  const runs = (answer.body as { dag_runs?: readonly DagRun[] }).dag_runs ?? [];
  const others = runs.filter((run) => run.dag_run_id !== place.runId);
  return (await Promise.all(others.map((run) => ofRun(place, run, stop)))).flat();
}

async function ofRun(place: Place, { dag_run_id, run_after }: DagRun, stop: AbortSignal): Promise<readonly Earlier[]> {
  const answer = await getXcom({ ...place, runId: dag_run_id }, "fan_out", stop);
  if (answer.kind !== "found") return [];
  const parsed = parse((answer.body as { value?: unknown }).value);
  const run = parsed.kind === "runs" ? parsed.runs.at(-1) : undefined;
  return run === undefined ? [] : [{ runId: dag_run_id, when: run_after ?? run.began, run }];
}
