import * as React from "react";

import { percent, seconds } from "../format";
import type { Run } from "../record";
import { advice, parts } from "../time-spent";
import { Section } from "./section";

export const TimeSpent = React.memo(function TimeSpent({ run }: { readonly run: Run }): React.JSX.Element | null {
  const all = parts(run);
  const total = all.reduce((sum, part) => sum + part.seconds, 0);
  if (total <= 0) return null;
  return (
    <Section title="Where the time went" wide>
      <div aria-hidden className="aj-bar">
        {all.map((part) => (
          <span className={`aj-time-${part.kind}`} key={part.kind} style={{ width: `${String((100 * part.seconds) / total)}%` }} />
        ))}
      </div>
      <table className="aj-time">
        <caption className="aj-hidden">Where the time went</caption>
        <tbody>
          {all.map((part) => (
            <tr key={part.kind}>
              <th scope="row">
                <i className={`aj-time-${part.kind}`} /> {part.name}
              </th>
              <td className="aj-number">{seconds(part.seconds)}</td>
              <td className="aj-number">{percent(part.seconds, total)}</td>
              <td className="aj-muted">{part.meaning}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p>{advice(run)}</p>
    </Section>
  );
});
