/** The tab: Airflow gives it the ids of a task instance, and it shows what that task's fan-outs did. */

import * as React from "react";

import type { Place } from "./api";
import { Notice } from "./components/notice";
import { Runs } from "./components/runs";
import { STYLES } from "./styles";
import { useView } from "./use-view";

export interface Props {
  readonly dagId?: string;
  readonly runId?: string;
  readonly taskId?: string;
  readonly mapIndex?: string;
}

export default function FanOut({ dagId = "", runId = "", taskId = "", mapIndex }: Props): React.JSX.Element {
  const index = Number.parseInt(mapIndex ?? "-1", 10);
  const place: Place = { dagId, runId, taskId, mapIndex: Number.isNaN(index) ? -1 : index };
  return (
    <section aria-label="Fan-out" className="airflow-joblib">
      <style>{STYLES}</style>
      <Shown key={JSON.stringify(place)} place={place} />
    </section>
  );
}

function Shown({ place }: { readonly place: Place }): React.JSX.Element {
  const { view, trouble, again } = useView(place);
  return view.kind === "runs" ? (
    <Runs again={again} place={place} trouble={trouble} view={view} />
  ) : (
    <Notice again={again} place={place} trouble={trouble} view={view} />
  );
}
