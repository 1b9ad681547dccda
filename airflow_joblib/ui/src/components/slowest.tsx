import * as React from "react";

import { count, seconds } from "../format";
import type { Run } from "../record";
import { Section } from "./section";
import { Head } from "./table";

const SHOWN = 8;

export const Slowest = React.memo(function Slowest({ run }: { readonly run: Run }): React.JSX.Element | null {
  const [all, setAll] = React.useState(false);
  if (run.slowest.length === 0) return null;
  const longest = Math.max(...run.slowest.map((item) => item.seconds), 0.000_001);
  const shown = all ? run.slowest : run.slowest.slice(0, SHOWN);
  return (
    <Section title="Slowest items">
      <table className="aj-slowest">
        <Head numbers={["Item", "Took"]} titles={["Item", "Label", "Took"]} />
        <tbody>
          {shown.map((item) => (
            <tr key={item.index}>
              <td className="aj-number">{item.index}</td>
              <td className="aj-label" style={{ "--aj-part": `${String((100 * item.seconds) / longest)}%` } as React.CSSProperties} title={item.label}>
                {item.label}
              </td>
              <td className="aj-number">{seconds(item.seconds)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {run.slowest.length > SHOWN && (
        <button
          aria-expanded={all}
          className="aj-link"
          onClick={() => {
            setAll(!all);
          }}
          type="button"
        >
          {all ? "Fewer" : `All ${count(run.slowest.length)}`}
        </button>
      )}
    </Section>
  );
});
