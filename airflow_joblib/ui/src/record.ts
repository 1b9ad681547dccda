/** The XCom `fan_out`: what the task wrote about its runs. Nothing here is trusted to be there. */

export const VERSION = 1;

export type RunState = "running" | "success" | "failed";

/** Worker, start, end (seconds since the run began), first item, items, failed items. */
export type Span = readonly [
  worker: number,
  start: number,
  end: number,
  first: number,
  items: number,
  failed: number,
];

/** Items that are skipped, or kept from an earlier try, count as done as well. */
export interface Counts {
  readonly total: number | null;
  readonly done: number;
  readonly failed: number;
  readonly skipped: number;
  readonly earlier: number;
  readonly retried: number;
}

export interface Failure {
  readonly index: number;
  readonly item: string;
  readonly error_type: string;
  readonly message: string;
  readonly tries: number;
}

export interface SlowItem {
  readonly index: number;
  readonly label: string;
  readonly seconds: number;
}

export interface Run {
  readonly function: string;
  readonly backend: string;
  readonly workers: number;
  readonly state: RunState;
  readonly began: string;
  readonly ended: string | null;
  readonly updated: string;
  readonly items: Counts;
  readonly rate: number;
  readonly seconds_left: number | null;
  readonly timeline: readonly Span[];
  readonly durations: { readonly edges: readonly number[]; readonly counts: readonly number[] };
  readonly slowest: readonly SlowItem[];
  readonly failures: readonly Failure[];
  readonly time: {
    readonly start: number;
    readonly running: number;
    readonly sending: number;
    readonly rate: number;
    readonly end: number;
  };
  readonly advice: string | null;
}

export type Parsed =
  | { readonly kind: "runs"; readonly runs: readonly Run[] }
  | { readonly kind: "elsewhere"; readonly reference: string }
  | { readonly kind: "unknown"; readonly version: string };

type Fields = Readonly<Record<string, unknown>>;

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function numberOrNull(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function numbers<Name extends string>(value: unknown, names: readonly Name[]): Readonly<Record<Name, number>> {
  const found = fields(value);
  return Object.fromEntries(names.map((name) => [name, number(found[name])])) as Record<Name, number>;
}

function text(value: unknown): string {
  if (typeof value === "string") return value;
  return value === null || value === undefined ? "" : JSON.stringify(value);
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/** The value as it was before it became text: some storages keep JSON as text, and some do so twice. */
function decoded(value: unknown): unknown {
  let found = value;
  for (let times = 0; times < 2 && typeof found === "string"; times += 1) {
    try {
      found = JSON.parse(found);
    } catch {
      return found;
    }
  }
  return found;
}

export function parse(value: unknown): Parsed {
  const found = decoded(value);
  if (typeof found === "string") return { kind: "elsewhere", reference: found };
  const { version, runs } = fields(found);
  if (version !== VERSION) return { kind: "unknown", version: version === undefined ? "none" : text(version) };
  return { kind: "runs", runs: list(runs).map(asRun) };
}

function asRun(value: unknown): Run {
  const run = fields(value);
  const durations = fields(run.durations);
  return {
    function: text(run.function),
    backend: text(run.backend),
    workers: number(run.workers),
    state: run.state === "running" || run.state === "failed" ? run.state : "success",
    began: text(run.began),
    ended: textOrNull(run.ended),
    updated: text(run.updated),
    items: asCounts(run.items),
    rate: number(run.rate),
    seconds_left: numberOrNull(run.seconds_left),
    timeline: list(run.timeline).map(asSpan),
    durations: { edges: list(durations.edges).map(number), counts: list(durations.counts).map(number) },
    slowest: list(run.slowest).map(asSlowItem),
    failures: asFailures(run.failures),
    time: numbers(run.time, ["start", "running", "sending", "rate", "end"]),
    advice: textOrNull(run.advice),
  };
}

function asCounts(value: unknown): Counts {
  return {
    total: numberOrNull(fields(value).total),
    ...numbers(value, ["done", "failed", "skipped", "earlier", "retried"]),
  };
}

function asSpan(value: unknown): Span {
  const span = list(value);
  return [number(span[0]), number(span[1]), number(span[2]), number(span[3]), number(span[4]), number(span[5])];
}

function asSlowItem(value: unknown): SlowItem {
  const item = fields(value);
  return { index: number(item.index), label: text(item.label), seconds: number(item.seconds) };
}

/** The records of failed items, from the record itself or from the XCom `failures`, which has all of them. */
export function asFailures(value: unknown): readonly Failure[] {
  return list(decoded(value)).map((found) => {
    const failure = fields(found);
    return {
      index: number(failure.index),
      item: text(failure.item),
      error_type: text(failure.error_type),
      message: text(failure.message),
      tries: number(failure.tries),
    };
  });
}

/** Items that this try has run to a result of their own. */
export function ran(items: Counts): number {
  return Math.max(0, items.done - items.skipped - items.earlier);
}

/** Items that need no more work, whatever came of them. */
export function finished(items: Counts): number {
  return items.done + items.failed;
}

/** Seconds that the run has taken, by the clock of the task's machine alone. */
export function wall(run: Run): number {
  const until = Date.parse(run.ended ?? run.updated);
  const seconds = (until - Date.parse(run.began)) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : 0;
}
