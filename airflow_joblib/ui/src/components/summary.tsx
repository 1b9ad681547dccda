/** The head of a run: what it is, how far, how fast, and what is left. */

import * as React from "react";

import type { Task } from "../api";
import { count, percent, plural, rate, seconds, when } from "../format";
import { type Run, finished, ran, wall } from "../record";
import { isBetweenTries } from "../view";

interface Props {
  readonly run: Run;
  readonly task: Task | null;
  readonly cutShort: boolean;
}

export function Summary({ run, task, cutShort }: Props): React.JSX.Element {
  const state = cutShort ? "cut short" : run.state;
  return (
    <header className="aj-summary">
      <div className="aj-title">
        <h2>
          <code>{run.function}</code>
        </h2>
        <span className={`aj-state aj-state-${state.replace(" ", "-")}`}>{state}</span>
        <span className="aj-muted">
          {plural(run.workers, "worker")} · {run.backend}
          {task !== null && task.tryNumber > 1 && counted(task) && ` · try ${String(task.tryNumber)}`} · {when(run.began)}
        </span>
      </div>
      {cutShort && (
        <p className="aj-banner" role="status">
          The task ended before the run did: this is what it had recorded until {when(run.updated)}. The task&apos;s log
          says why it ended.
        </p>
      )}
      <Bar run={run} />
      <Figures cutShort={cutShort} run={run} />
    </header>
  );
}

/** Whether the task's number of tries is that of the record: a try is counted before it starts. */
function counted(task: Task): boolean {
  return task.state === "up_for_retry" || !isBetweenTries(task);
}

const SEGMENTS = [
  ["done", "done"],
  ["earlier", "from a checkpoint"],
  ["skipped", "skipped"],
  ["failed", "failed"],
] as const;

function Bar({ run }: { readonly run: Run }): React.JSX.Element {
  const { items } = run;
  const over = finished(items);
  const total = Math.max(items.total ?? over, over, 1);
  const shown = { ...items, done: ran(items) };
  const said = SEGMENTS.flatMap(([kind, name]) => (shown[kind] > 0 ? [`${count(shown[kind])} ${name}`] : []));
  const known = items.total === null ? {} : { "aria-valuemax": total, "aria-valuemin": 0, "aria-valuenow": over };
  return (
    <div className="aj-progress">
      <div aria-label="Items" aria-valuetext={said.join(", ") || "none yet"} className="aj-bar" role="progressbar" {...known}>
        {SEGMENTS.map(([kind]) => (
          <span className={`aj-fill-${kind}`} key={kind} style={{ width: `${String((100 * shown[kind]) / total)}%` }} />
        ))}
      </div>
      <span className="aj-percent">{items.total === null ? count(over) : percent(over, items.total)}</span>
    </div>
  );
}

function Figures({ run, cutShort }: Omit<Props, "task">): React.JSX.Element {
  const { items } = run;
  const live = run.state === "running" && !cutShort;
  return (
    <dl className="aj-figures">
      <Figure name="Items" value={items.total === null ? count(finished(items)) : `${count(finished(items))} of ${count(items.total)}`} />
      <Figure name="Failed" tone={items.failed > 0 ? "failed" : undefined} value={count(items.failed)} />
      {items.retried > 0 && <Figure name="Retried" value={count(items.retried)} />}
      {items.skipped > 0 && <Figure name="Skipped" value={count(items.skipped)} />}
      {items.earlier > 0 && <Figure name="From a checkpoint" value={count(items.earlier)} />}
      <Figure name="Rate" value={rate(run.rate)} />
      <Figure name={live ? "So far" : "Took"} value={seconds(wall(run))} />
      {live && <Figure name="Left" value={run.seconds_left === null ? "unknown" : `about ${seconds(run.seconds_left)}`} />}
    </dl>
  );
}

interface FigureProps {
  readonly name: string;
  readonly value: string;
  readonly tone?: "failed" | undefined;
}

function Figure({ name, value, tone }: FigureProps): React.JSX.Element {
  return (
    <div className={tone === undefined ? "aj-figure" : `aj-figure aj-figure-${tone}`}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
