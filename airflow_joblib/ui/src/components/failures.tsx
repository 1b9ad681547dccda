/** The items that failed: searched, copied, downloaded. */

import * as React from "react";

import { type Place, getXcom } from "../api";
import { copy, download } from "../files";
import { fileName, search, toCsv, toJson, types } from "../failures";
import { count, plural } from "../format";
import { type Failure, type Run, asFailures } from "../record";
import { Section } from "./section";
import { Head } from "./table";

/** Rows that are drawn; a search finds the others. */
const DRAWN = 300;
const RECORDED = 100;

export function Failures({ run, place }: { readonly run: Run; readonly place: Place }): React.JSX.Element | null {
  const [words, setWords] = React.useState("");
  const [type, setType] = React.useState<string | null>(null);
  const [all, setAll] = React.useState<readonly Failure[] | null>(null);
  const failures = all !== null && all.length >= run.failures.length ? all : run.failures;
  if (failures.length === 0) return null;
  const found = search(failures, words, type);
  const missing = run.items.failed - failures.length;
  return (
    <Section aside={<Files failures={found} place={place} />} title={`Failures (${count(run.items.failed)})`} wide>
      <div className="aj-tools">
        <input
          aria-label="Search the failures"
          onChange={(event) => {
            setWords(event.target.value);
          }}
          placeholder="Search label, error, message"
          type="search"
          value={words}
        />
        <Types choose={setType} chosen={type} failures={failures} />
        <span className="aj-muted" role="status">
          {found.length === failures.length ? "" : `${count(found.length)} of ${count(failures.length)}`}
        </span>
      </div>
      {missing > 0 && (
        <p className="aj-muted">
          The record holds the first {count(Math.max(failures.length, 0))} of {plural(run.items.failed, "failure")}.{" "}
          {failures.length >= RECORDED && run.state !== "running" && all === null && <Rest place={place} take={setAll} />}
        </p>
      )}
      <Rows failures={found} />
    </Section>
  );
}

function Rest({ place, take }: { readonly place: Place; readonly take: (all: readonly Failure[]) => void }): React.JSX.Element {
  const [said, setSaid] = React.useState("Load all from the XCom failures");
  const load = async (): Promise<void> => {
    setSaid("Loading …");
    const answer = await getXcom(place, "failures", AbortSignal.timeout(60_000));
    const found = answer.kind === "found" ? asFailures((answer.body as { value?: unknown }).value) : [];
    if (found.length > 0) take(found);
    else setSaid("There is no XCom failures that can be read");
  };
  return (
    <button className="aj-link" onClick={() => void load()} type="button">
      {said}
    </button>
  );
}

interface TypesProps {
  readonly failures: readonly Failure[];
  readonly chosen: string | null;
  readonly choose: (type: string | null) => void;
}

function Types({ failures, chosen, choose }: TypesProps): React.JSX.Element | null {
  const all = types(failures).slice(0, 6);
  if (all.length < 2) return null;
  return (
    <div aria-label="Type of error" className="aj-types" role="group">
      {all.map(([type, times]) => (
        <button
          aria-pressed={chosen === type}
          key={type}
          onClick={() => {
            choose(chosen === type ? null : type);
          }}
          type="button"
        >
          {short(type)} <b>{count(times)}</b>
        </button>
      ))}
    </div>
  );
}

function short(type: string): string {
  return type.split(".").at(-1) ?? type;
}

function Files({ failures, place }: { readonly failures: readonly Failure[]; readonly place: Place }): React.JSX.Element {
  const [said, setSaid] = React.useState("");
  const named = (ending: string): string => fileName(place.dagId, place.taskId, place.mapIndex, ending);
  return (
    <div className="aj-files">
      <span className="aj-muted" role="status">
        {said}
      </span>
      <button
        onClick={() => {
          void copy(toCsv(failures)).then((done) => {
            setSaid(done ? `Copied ${plural(failures.length, "row")}` : "The browser does not allow copying");
          });
        }}
        type="button"
      >
        Copy
      </button>
      <button
        onClick={() => {
          download(named("csv"), "text/csv", toCsv(failures));
        }}
        type="button"
      >
        CSV
      </button>
      <button
        onClick={() => {
          download(named("json"), "application/json", toJson(failures));
        }}
        type="button"
      >
        JSON
      </button>
    </div>
  );
}

const Rows = React.memo(function Rows({ failures }: { readonly failures: readonly Failure[] }): React.JSX.Element {
  return (
    <>
      <div aria-label="Failures" className="aj-scroll" role="region" tabIndex={0}>
        <table className="aj-failures">
          <Head numbers={["Item", "Tries"]} titles={["Item", "Label", "Error", "Message", "Tries"]} />
          <tbody>
            {failures.slice(0, DRAWN).map((failure) => (
              <tr key={failure.index}>
                <td className="aj-number">{failure.index < 0 ? "–" : failure.index}</td>
                <td className="aj-text">{failure.item}</td>
                <td title={failure.error_type}>
                  <code>{short(failure.error_type)}</code>
                </td>
                <td className="aj-text">{failure.message}</td>
                <td className="aj-number">{count(failure.tries)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {failures.length > DRAWN && (
        <p className="aj-muted">
          {count(DRAWN)} of {count(failures.length)} are shown. Search for others, or download all.
        </p>
      )}
    </>
  );
});
