import { scaleBand, scaleLinear } from "d3-scale";
import * as React from "react";

import { count, percent, seconds } from "../format";
import { bars, quantile } from "../histogram";
import type { Run } from "../record";
import { Section } from "./section";
import { AsTable } from "./table";

const HEIGHT = 120;

export const Histogram = React.memo(function Histogram({ run }: { readonly run: Run }): React.JSX.Element | null {
  const all = bars(run.durations);
  if (all.length === 0) return null;
  const most = Math.max(...all.map((bar) => bar.count));
  const total = all.reduce((sum, bar) => sum + bar.count, 0);
  const half = quantile(all, 0.5);
  const most95 = quantile(all, 0.95);
  const x = scaleBand(all.map((_, place) => String(place)), [0, 100]).padding(0.12);
  const height = scaleLinear([0, most], [0, HEIGHT]);
  const said = `Half of the items took up to ${seconds(half ?? 0)}, 95 % up to ${seconds(most95 ?? 0)}.`;
  return (
    <Section aside={<span className="aj-muted">{said}</span>} title="Seconds an item took">
      <div className="aj-histogram">
        <svg aria-label={`Histogram of the seconds that items took. ${said}`} height={HEIGHT + 4} role="img" width="100%">
          {all.map((bar, place) => (
            <rect
              className="aj-column"
              height={bar.count > 0 ? Math.max(2, height(bar.count)) : 0}
              key={bar.from}
              rx="2"
              width={`${String(x.bandwidth())}%`}
              x={`${String(x(String(place)) ?? 0)}%`}
              y={HEIGHT + 2 - (bar.count > 0 ? Math.max(2, height(bar.count)) : 0)}
            >
              <title>{`${bar.label}: ${count(bar.count)}`}</title>
            </rect>
          ))}
        </svg>
        <div aria-hidden className="aj-axis aj-edges">
          {edges(all.map((bar) => bar.from)).map(([place, edge]) => (
            <span key={edge} style={{ left: `${String((100 * place) / all.length)}%` }}>
              {seconds(edge)}
            </span>
          ))}
        </div>
      </div>
      <AsTable caption="Items by the seconds they took" titles={["Seconds", "Items", "Share"]}>
        {all.map((bar) => (
          <tr key={bar.from}>
            <th scope="row">{bar.label}</th>
            <td>{count(bar.count)}</td>
            <td>{percent(bar.count, total)}</td>
          </tr>
        ))}
      </AsTable>
    </Section>
  );
});

/** Some edges with their places: as many as fit. */
function edges(all: readonly number[]): readonly (readonly [number, number])[] {
  const step = Math.ceil(all.length / 6);
  return all.flatMap((edge, place) => (place % step === 0 ? [[place, edge] as const] : []));
}
