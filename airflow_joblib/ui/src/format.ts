/** Figures as people read them. */

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(value: number): string {
  return WHOLE.format(value);
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Three figures at most: 0.012 s, 4.21 s, 57.3 s, 3 min 05 s, 2 h 10 min. */
export function seconds(value: number): string {
  if (value <= 0) return "0 s";
  if (value < 0.001) return "< 1 ms";
  if (value < 0.9995) return `${String(Math.round(value * 1000))} ms`;
  if (value < 9.995) return `${value.toFixed(2)} s`;
  if (value < 59.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${String(Math.floor(whole / 60))} min ${two(whole % 60)} s`;
  const minutes = Math.round(value / 60);
  return `${count(Math.floor(minutes / 60))} h ${two(minutes % 60)} min`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** Items in a second, or in a minute or an hour where that is a figure people can imagine. */
export function rate(perSecond: number): string {
  if (perSecond <= 0) return "–";
  if (perSecond >= 1) return `${figure(perSecond)}/s`;
  if (perSecond * 60 >= 1) return `${figure(perSecond * 60)}/min`;
  return `${figure(perSecond * 3600)}/h`;
}

function figure(value: number): string {
  return value >= 100 ? count(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** A share of the whole; never "100 %" or "0 %" where something is missing. */
export function percent(part: number, whole: number): string {
  if (whole <= 0) return "0 %";
  const share = (100 * part) / whole;
  if (part > 0 && share < 1) return "< 1 %";
  if (part < whole && share > 99) return "> 99 %";
  return `${String(Math.round(share))} %`;
}

const TWO_DIGITS = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false } as const;

export function when(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return `${date.toLocaleDateString("en-CA")} ${date.toLocaleTimeString("en-GB", TWO_DIGITS)}`;
}
