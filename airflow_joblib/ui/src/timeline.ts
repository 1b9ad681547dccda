/** Who ran what when: the lanes of the workers, and what each part of a lane has to say. */

import { scaleLinear } from "d3-scale";

import { plural, seconds } from "./format";
import type { Failure, Run, SlowItem, Span } from "./record";

export interface Lane {
  readonly worker: number;
  readonly spans: readonly Span[];
  /** Seconds in which the worker ran items. */
  readonly busy: number;
  readonly items: number;
  readonly failed: number;
}

/** One lane for each worker, by number; workers that have run nothing have no lane. */
export function lanes(timeline: readonly Span[]): readonly Lane[] {
  const byWorker = new Map<number, Span[]>();
  for (const span of timeline) {
    const known = byWorker.get(span[0]);
    if (known) known.push(span);
    else byWorker.set(span[0], [span]);
  }
  return [...byWorker.entries()].sort(([one], [other]) => one - other).map(([worker, spans]) => lane(worker, spans));
}

function lane(worker: number, found: readonly Span[]): Lane {
  const spans = [...found].sort((one, other) => one[1] - other[1]);
  let busy = 0;
  let until = 0;
  for (const [, start, end] of spans) {
    busy += Math.max(0, end - Math.max(start, until)); // an event loop runs several items at once
    until = Math.max(until, end);
  }
  return {
    worker,
    spans,
    busy,
    items: sum(spans, 4),
    failed: sum(spans, 5),
  };
}

function sum(spans: readonly Span[], field: 4 | 5): number {
  return spans.reduce((total, span) => total + span[field], 0);
}

/** Where the axis ends: never 0, so that a scale has a length. */
export function extent(timeline: readonly Span[], wall: number): number {
  return timeline.reduce((latest, span) => Math.max(latest, span[2]), Math.max(wall, 0.001));
}

/** Labels of items that the record knows: of the slowest and of those that failed. */
export function labels(run: Run): ReadonlyMap<number, string> {
  const known = new Map<number, string>();
  const add = (index: number, label: string): void => {
    if (label !== "") known.set(index, label);
  };
  run.slowest.forEach((item: SlowItem) => {
    add(item.index, item.label);
  });
  run.failures.forEach((failure: Failure) => {
    add(failure.index, failure.item);
  });
  return known;
}

export interface Described {
  readonly title: string;
  readonly lines: readonly string[];
}

/** What hovering over a part of a lane, or reaching it by keyboard, says. */
export function describe(span: Span, known: ReadonlyMap<number, string>): Described {
  const [worker, start, end, first, items, failed] = span;
  const label = known.get(first);
  const title = items === 1 ? `Item ${String(first)}` : `${plural(items, "item")}, from item ${String(first)} on`;
  const lines = [
    ...(label === undefined ? [] : [label]),
    `${seconds(end - start)}, from ${seconds(start)} to ${seconds(end)}`,
    ...(items > 1 ? [`${seconds((end - start) / items)} an item`] : []),
    ...(failed > 0 ? [items === 1 ? "failed" : `${String(failed)} failed`] : []),
    `worker ${String(worker)}`,
  ];
  return { title, lines };
}

export interface Place {
  readonly lane: number;
  readonly span: number;
}

/** The part of a lane that an arrow key leads to; undefined for keys that move nothing. */
export function moved(at: Place, key: string, all: readonly Lane[]): Place | undefined {
  const length = all[at.lane]?.spans.length ?? 0;
  switch (key) {
    case "ArrowRight":
      return { lane: at.lane, span: Math.min(at.span + 1, length - 1) };
    case "ArrowLeft":
      return { lane: at.lane, span: Math.max(at.span - 1, 0) };
    case "ArrowDown":
      return across(at, Math.min(at.lane + 1, all.length - 1), all);
    case "ArrowUp":
      return across(at, Math.max(at.lane - 1, 0), all);
    case "Home":
      return { lane: at.lane, span: 0 };
    case "End":
      return { lane: at.lane, span: length - 1 };
    default:
      return undefined;
  }
}

/** The part of another lane that is nearest in time. */
function across(at: Place, lane: number, all: readonly Lane[]): Place {
  const from = all[at.lane]?.spans[at.span]?.[1] ?? 0;
  const spans = all[lane]?.spans ?? [];
  const distances = spans.map((span) => Math.abs(span[1] - from));
  return { lane, span: Math.max(0, distances.indexOf(Math.min(...distances))) };
}

const UNITS = [
  [7200, 3600, " h"],
  [120, 60, " min"],
  [0, 1, " s"],
] as const;

/** Round places on an axis of seconds, in the unit that suits its length. */
export function ticks(until: number): readonly (readonly [at: number, label: string])[] {
  const [, length, name] = UNITS.find(([from]) => until >= from) ?? UNITS[2];
  const scale = scaleLinear([0, until / length], [0, 1]);
  const shown = scale.tickFormat(8);
  return scale.ticks(8).map((tick) => [tick * length, `${shown(tick)}${name}`]);
}

/** The chart in a sentence, for those who do not see it. */
export function summary(all: readonly Lane[], until: number): string {
  const busy = all.reduce((total, lane) => total + lane.busy, 0);
  const share = all.length > 0 ? Math.round((100 * busy) / (all.length * until)) : 0;
  const failed = all.reduce((total, lane) => total + lane.failed, 0);
  return `${plural(all.length, "worker")} over ${seconds(until)}, busy for ${String(share)} % of the time, ${plural(failed, "failed item")}.`;
}
