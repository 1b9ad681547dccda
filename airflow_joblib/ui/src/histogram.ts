/** How long items take: the bars of the histogram, without empty ends. */

import { seconds } from "./format";
import type { Run } from "./record";

export interface Bar {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  readonly label: string;
}

/** Seconds that stand for no upper edge: JSON has no infinity. */
const NEVER = 1e8;

/** The bars between the first and the last that have items. */
export function bars({ edges, counts }: Run["durations"]): readonly Bar[] {
  const all = counts.map((count, place): Bar => {
    const from = edges[place] ?? 0;
    const edge = edges[place + 1] ?? Infinity;
    const to = edge < NEVER ? edge : Infinity;
    const label = Number.isFinite(to) ? `${seconds(from)} to ${seconds(to)}` : `${seconds(from)} or more`;
    return { from, to, count, label };
  });
  const filled = all.flatMap((bar, place) => (bar.count > 0 ? [place] : []));
  return filled.length === 0 ? [] : all.slice(filled[0], (filled.at(-1) ?? 0) + 1);
}

/** The edge by which half of the items, or another share, were done: as exact as the bars are. */
export function quantile(all: readonly Bar[], share: number): number | null {
  const total = all.reduce((sum, bar) => sum + bar.count, 0);
  let before = 0;
  for (const bar of all) {
    if (bar.count > 0 && before + bar.count >= share * total) {
      const within = (share * total - before) / bar.count;
      return Number.isFinite(bar.to) ? bar.from + within * (bar.to - bar.from) : bar.from;
    }
    before += bar.count;
  }
  return null;
}
