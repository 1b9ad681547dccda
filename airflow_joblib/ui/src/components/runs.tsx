/** One of the task's runs, and the choice among them. */

import * as React from "react";

import type { Place } from "../api";
import { plural, when } from "../format";
import { type Run, finished } from "../record";
import { type View, isBetweenTries } from "../view";
import { EarlierRuns } from "./earlier-runs";
import { Failures } from "./failures";
import { Histogram } from "./histogram";
import { Slowest } from "./slowest";
import { Summary } from "./summary";
import { TimeSpent } from "./time-spent";
import { Timeline } from "./timeline";

interface Props {
  readonly place: Place;
  readonly view: Extract<View, { kind: "runs" }>;
  readonly trouble: string | null;
  readonly again: () => void;
}

export function Runs({ place, view, trouble, again }: Props): React.JSX.Element | null {
  const { runs, task, cutShort } = view;
  const [chosen, setChosen] = React.useState<number | null>(null); // null: the last one, whichever that is
  const at = chosen !== null && chosen < runs.length ? chosen : runs.length - 1;
  const run = runs[at];
  if (run === undefined) return null;
  const ended = cutShort && at === runs.length - 1;
  return (
    <>
      {trouble !== null && (
        <p className="aj-banner" role="alert">
          The server does not answer ({trouble}). This is what it said last; the page tries again by itself.{" "}
          <button onClick={again} type="button">
            Try now
          </button>
        </p>
      )}
      {task !== null && isBetweenTries(task) && (
        <p className="aj-banner" role="status">
          {task.state === "up_for_retry"
            ? `Try ${String(task.tryNumber)} failed, and the task will be tried again.`
            : `The task's state is ${task.state ?? "none yet"}.`}{" "}
          This is what it recorded before; the next try deletes it when it starts.
        </p>
      )}
      {runs.length > 1 && <Choice at={at} choose={setChosen} runs={runs} />}
      <Summary cutShort={ended} run={run} task={task} />
      <div className="aj-grid">
        <Timeline run={run} />
        <Failures key={at} place={place} run={run} />
        <TimeSpent run={run} />
        <Histogram run={run} />
        <Slowest run={run} />
        <EarlierRuns place={place} />
      </div>
    </>
  );
}

interface ChoiceProps {
  readonly runs: readonly Run[];
  readonly at: number;
  readonly choose: (at: number) => void;
}

function Choice({ runs, at, choose }: ChoiceProps): React.JSX.Element {
  return (
    <label className="aj-choice">
      This task made {plural(runs.length, "fan-out")}
      <select
        onChange={(event) => {
          choose(Number(event.target.value));
        }}
        value={at}
      >
        {runs.map((run, place) => (
          <option key={`${run.began} ${String(place)}`} value={place}>
            {`${String(place + 1)}. ${run.function}, ${when(run.began)}, ${plural(finished(run.items), "item")}, ${run.state}`}
          </option>
        ))}
      </select>
    </label>
  );
}
