/** The lanes of the workers. One tab stop; arrow keys lead through it, and every part says what it is. */

import { scaleLinear } from "d3-scale";
import * as React from "react";

import { count, percent, seconds } from "../format";
import { type Run, type Span, wall } from "../record";
import { type Described, type Lane, type Place, describe, extent, labels, lanes, moved, summary, ticks } from "../timeline";
import { Section } from "./section";
import { AsTable } from "./table";

type Scale = (value: number) => number;

export const Timeline = React.memo(function Timeline({ run }: { readonly run: Run }): React.JSX.Element {
  const all = React.useMemo(() => lanes(run.timeline), [run]);
  const known = React.useMemo(() => labels(run), [run]);
  const [at, setAt] = React.useState<Place | null>(null);
  const until = extent(run.timeline, wall(run));
  const scale = scaleLinear([0, until], [0, 100]);
  const span = at === null ? undefined : all[at.lane]?.spans[at.span];
  const said = span === undefined ? undefined : describe(span, known);

  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key === "Escape") setAt(null);
    const to = moved(at ?? { lane: 0, span: 0 }, event.key, all);
    if (to === undefined) return;
    event.preventDefault();
    setAt(at === null ? { lane: 0, span: 0 } : to);
  };

  return (
    <Section aside={<Legend />} title="Workers" wide>
      <p className="aj-hidden">{summary(all, until)} Arrow keys lead through the timeline.</p>
      <div
        aria-label={summary(all, until)}
        aria-roledescription="timeline"
        className={all.length > 16 ? "aj-timeline aj-many" : "aj-timeline"}
        onBlur={() => {
          setAt(null);
        }}
        onFocus={() => {
          if (all.length > 0) setAt((before) => before ?? { lane: 0, span: 0 });
        }}
        onKeyDown={onKeyDown}
        onMouseLeave={() => {
          setAt(null);
        }}
        role="group"
        tabIndex={0}
      >
        <div className="aj-lanes">
          {all.map((lane, row) => (
            <LaneRow at={at?.lane === row ? at.span : null} key={lane.worker} lane={lane} row={row} scale={scale} setAt={setAt} until={until} />
          ))}
        </div>
        <Axis scale={scale} until={until} />
        {span !== undefined && said !== undefined && <Tip at={scale((span[1] + span[2]) / 2)} said={said} />}
      </div>
      <p aria-live="polite" className="aj-hidden">
        {said === undefined ? "" : `${said.title}: ${said.lines.join(", ")}`}
      </p>
      <Figures all={all} until={until} />
    </Section>
  );
});

function Legend(): React.JSX.Element {
  return (
    <ul className="aj-legend">
      <li>
        <i className="aj-fill-done" /> ran items
      </li>
      <li>
        <i className="aj-fill-failed" /> with a failure
      </li>
      <li>
        <i className="aj-idle" /> idle
      </li>
    </ul>
  );
}

interface LaneProps {
  readonly lane: Lane;
  readonly row: number;
  readonly at: number | null;
  readonly scale: Scale;
  readonly until: number;
  readonly setAt: (place: Place) => void;
}

function LaneRow({ lane, row, at, scale, until, setAt }: LaneProps): React.JSX.Element {
  const over = (event: React.MouseEvent): void => {
    const span = (event.target as Element).getAttribute("data-span");
    if (span !== null) setAt({ lane: row, span: Number(span) });
  };
  return (
    <div className="aj-lane">
      <span className="aj-lane-name">{lane.worker}</span>
      <svg aria-hidden className="aj-idle" onMouseOver={over}>
        <Spans scale={scale} spans={lane.spans} />
        {at !== null && lane.spans[at] !== undefined && <Marked scale={scale} span={lane.spans[at]} />}
      </svg>
      <span className="aj-lane-busy">{percent(lane.busy, until)}</span>
    </div>
  );
}

/** Apart, so that a move of the pointer does not draw a thousand of them again. Flags come last: nothing covers them. */
const Spans = React.memo(
  function Spans({ spans, scale }: { readonly spans: readonly Span[]; readonly scale: Scale }): React.JSX.Element {
    return (
      <>
        {spans.map(([, start, end, , , failed], place) => (
          <rect
            className={failed > 0 ? "aj-span aj-span-failed" : "aj-span"}
            data-span={place}
            height="100%"
            key={place}
            width={`${String(Math.max(0, scale(end) - scale(start)))}%`}
            x={`${String(scale(start))}%`}
            y="0"
          />
        ))}
        {spans.map(([, start, end, , , failed], place) =>
          failed > 0 ? (
            <svg className="aj-flag" key={place} overflow="visible" x={`${String(scale((start + end) / 2))}%`} y="0">
              <path d="M-5 0h10l-5 8z" data-span={place} />
            </svg>
          ) : null,
        )}
      </>
    );
  },
  (before, after) => before.spans === after.spans,
);

function Marked({ span, scale }: { readonly span: Span; readonly scale: Scale }): React.JSX.Element {
  const width = `${String(Math.max(0.1, scale(span[2]) - scale(span[1])))}%`;
  return <rect className="aj-marked" height="100%" width={width} x={`${String(scale(span[1]))}%`} y="0" />;
}

function Axis({ scale, until }: { readonly scale: Scale; readonly until: number }): React.JSX.Element {
  return (
    <div aria-hidden className="aj-axis">
      {ticks(until).map(([at, label]) => (
        <span key={at} style={{ left: `${String(scale(at))}%` }}>
          {label}
        </span>
      ))}
    </div>
  );
}

function Tip({ at, said }: { readonly at: number; readonly said: Described }): React.JSX.Element {
  const side = at > 60 ? { right: `${String(100 - at)}%` } : { left: `${String(at)}%` };
  return (
    <div aria-hidden className="aj-tip-place">
      <div className="aj-tip" role="tooltip" style={side}>
        <strong>{said.title}</strong>
        {said.lines.map((line) => (
          <span key={line}>{line}</span>
        ))}
      </div>
    </div>
  );
}

function Figures({ all, until }: { readonly all: readonly Lane[]; readonly until: number }): React.JSX.Element {
  return (
    <AsTable caption="What each worker did" titles={["Worker", "Items", "Failed", "Busy", "Idle", "First item after"]}>
      {all.map((lane) => (
        <tr key={lane.worker}>
          <th scope="row">{lane.worker}</th>
          <td>{count(lane.items)}</td>
          <td>{count(lane.failed)}</td>
          <td>{seconds(lane.busy)}</td>
          <td>{seconds(Math.max(0, until - lane.busy))}</td>
          <td>{seconds(lane.spans[0]?.[1] ?? 0)}</td>
        </tr>
      ))}
    </AsTable>
  );
}
