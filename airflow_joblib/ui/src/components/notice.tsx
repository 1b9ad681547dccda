/** The states in which there is no run to show: what is the case, and what to do. */

import * as React from "react";

import { type Place, type Task, get, mappedPath, tabLink } from "../api";
import type { View } from "../view";

/** A page that comes with the bundle, so that the link works on every Airflow. */
const DOCS = "airflow-joblib/about.html";

interface Said {
  readonly title: string;
  readonly text: React.ReactNode;
  readonly tone?: "trouble";
}

interface Props {
  readonly view: Exclude<View, { kind: "runs" }>;
  readonly place: Place;
  readonly trouble: string | null;
  readonly again: () => void;
}

export function Notice({ view, place, trouble, again }: Props): React.JSX.Element {
  if (view.kind === "loading") {
    return (
      <p className="aj-notice aj-muted" role="status">
        Loading the record of this task …
      </p>
    );
  }
  const said = sayings(view);
  return (
    <div className="aj-notice" data-state={view.kind} role={said.tone === "trouble" ? "alert" : "status"}>
      <h2>{said.title}</h2>
      <p>{said.text}</p>
      {view.kind === "mapped" && <Instances place={place} />}
      {trouble !== null && <p className="aj-muted">The server does not answer ({trouble}). Trying again.</p>}
      {(view.kind === "unreachable" || view.kind === "signed out") && (
        <button onClick={again} type="button">
          Try now
        </button>
      )}
    </div>
  );
}

function sayings(view: Exclude<View, { kind: "runs" | "loading" }>): Said {
  switch (view.kind) {
    case "waiting":
      return {
        title: view.task.state === "running" ? "The task is running" : "The task is not running yet",
        text: waiting(view.task),
      };
    case "empty":
      return {
        title: "This task made no fan-out",
        text: (
          <>
            A task has a record here if it calls a function that <code>@parallel_task</code> decorates.{" "}
            <a href={DOCS} target="_blank">
              What a fan-out is
            </a>
          </>
        ),
      };
    case "mapped":
      return { title: "This task is mapped", text: "Each of its instances has a record of its own." };
    case "forbidden":
      return {
        title: "No permission",
        text: "You may not read the XComs of this DAG, and the record of a fan-out is one of them. Ask who manages Airflow for the right to read XComs.",
        tone: "trouble",
      };
    case "signed out":
      return {
        title: "You are signed out",
        text: "Your session has ended. Load the page again to sign in.",
        tone: "trouble",
      };
    case "elsewhere":
      return {
        title: "The record is stored elsewhere",
        text: (
          <>
            The XCom backend of this Airflow keeps values outside its database, where this page cannot read them:{" "}
            <code>{view.reference.slice(0, 300)}</code>
          </>
        ),
      };
    case "unknown":
      return {
        title: "A record of another version",
        text: `The record's version is ${view.version}, and this page knows version 1. Install the airflow-joblib of the workers on the API server too.`,
      };
    case "unreachable":
      return {
        title: "The server does not answer",
        text: `The last request failed (${view.why}). The page tries again by itself.`,
        tone: "trouble",
      };
  }
}

function waiting({ state, tryNumber }: Task): string {
  const live = "A fan-out shows here, live, once it has lasted two seconds.";
  if (state !== "running") return `Its state is ${state ?? "none yet"}. ${live}`;
  if (tryNumber < 2) return `Nothing is recorded so far. ${live}`;
  return `Nothing is recorded so far in try ${String(tryNumber)}. ${live} Airflow has deleted what the tries before it recorded; their logs are there.`;
}

interface Instance {
  readonly map_index: number;
  readonly rendered_map_index?: string | null;
  readonly state: string | null;
}

function Instances({ place }: { readonly place: Place }): React.JSX.Element | null {
  const [found, setFound] = React.useState<readonly Instance[]>([]);
  const { dagId, runId, taskId } = place;
  React.useEffect(() => {
    const stop = new AbortController();
    void get(mappedPath({ dagId, runId, taskId, mapIndex: -1 }), stop.signal).then((answer) => {
      if (answer.kind !== "found" || stop.signal.aborted) return;
      setFound((answer.body as { task_instances?: readonly Instance[] }).task_instances ?? []);
    });
    return () => {
      stop.abort();
    };
  }, [dagId, runId, taskId]);
  return (
    <ul className="aj-instances">
      {found.map(({ map_index, rendered_map_index, state }) => (
        <li key={map_index}>
          <a href={tabLink({ dagId, runId, taskId, mapIndex: map_index })}>{rendered_map_index ?? map_index}</a>{" "}
          <span className="aj-muted">{state ?? "no state"}</span>
        </li>
      ))}
    </ul>
  );
}
