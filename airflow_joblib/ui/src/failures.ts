/** The table of failures: searched, and written as files. */

import type { Failure } from "./record";

const COLUMNS = ["index", "item", "error_type", "message", "tries"] as const;

export function search(failures: readonly Failure[], words: string, type: string | null): readonly Failure[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  return failures.filter((failure) => {
    if (type !== null && failure.error_type !== type) return false;
    const all = `${String(failure.index)} ${failure.item} ${failure.error_type} ${failure.message}`.toLowerCase();
    return wanted.every((word) => all.includes(word));
  });
}

/** How many items each type of error has failed, the most first. */
export function types(failures: readonly Failure[]): readonly (readonly [string, number])[] {
  const counts = new Map<string, number>();
  for (const { error_type } of failures) counts.set(error_type, (counts.get(error_type) ?? 0) + 1);
  return [...counts.entries()].sort((one, other) => other[1] - one[1] || one[0].localeCompare(other[0]));
}

export function toCsv(failures: readonly Failure[]): string {
  const rows = failures.map((failure) => COLUMNS.map((column) => cell(failure[column])).join(","));
  return [COLUMNS.join(","), ...rows].map((row) => `${row}\r\n`).join("");
}

/** A spreadsheet runs a cell that begins like a formula; an apostrophe before it makes it text. */
function cell(value: string | number): string {
  if (typeof value === "number") return String(value);
  const safe = /^\s*[=+\-@\t\r\n＝＋－＠]/u.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) || safe !== value ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function toJson(failures: readonly Failure[]): string {
  return `${JSON.stringify(failures, null, 2)}\n`;
}

/** A name for a file that says where its rows come from. */
export function fileName(dagId: string, taskId: string, mapIndex: number, ending: string): string {
  const parts = [dagId, taskId, ...(mapIndex >= 0 ? [String(mapIndex)] : []), "failures"];
  return `${parts.map((part) => part.replaceAll(/[^\w.-]+/g, "_")).join("-")}.${ending}`;
}
