/** How this task did in earlier runs of its DAG; asked for only when somebody wants to know. */

import * as React from "react";

import { type Place, tabLink } from "../api";
import { type Earlier, earlier } from "../earlier";
import { count, rate, seconds, when } from "../format";
import { finished, wall } from "../record";
import { Section } from "./section";
import { Head } from "./table";

export function EarlierRuns({ place }: { readonly place: Place }): React.JSX.Element {
  const [found, setFound] = React.useState<readonly Earlier[] | "loading" | null>(null);
  const load = async (): Promise<void> => {
    setFound("loading");
    setFound(await earlier(place, AbortSignal.timeout(60_000)));
  };
  return (
    <Section title="Earlier runs of this task" wide>
      {found === null && (
        <button onClick={() => void load()} type="button">
          Compare with earlier runs
        </button>
      )}
      <div aria-live="polite">
        {found === "loading" && <p className="aj-muted">Loading …</p>}
        {found !== null && found !== "loading" && <Rows found={found} place={place} />}
      </div>
    </Section>
  );
}

function Rows({ found, place }: { readonly found: readonly Earlier[]; readonly place: Place }): React.JSX.Element {
  if (found.length === 0) return <p className="aj-muted">The last runs before this one have no record of this task.</p>;
  return (
    <table>
      <Head titles={["Run", "State", "Items", "Failed", "Took", "Rate"]} />
      <tbody>
        {found.map(({ runId, when: at, run }) => (
          <tr key={runId}>
            <th scope="row">
              <a href={tabLink({ ...place, runId })}>{when(at)}</a>
            </th>
            <td>{run.state}</td>
            <td>{count(finished(run.items))}</td>
            <td>{count(run.items.failed)}</td>
            <td>{seconds(wall(run))}</td>
            <td>{rate(run.rate)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
