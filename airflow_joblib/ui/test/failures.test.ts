import { expect, test } from "vitest";

import { fileName, search, toCsv, toJson, types } from "../src/failures";
import type { Failure } from "../src/record";
import { aRun } from "./fixtures";

const FAILURES = aRun().failures;

function failure(changes: Partial<Failure>): Failure {
  return { index: 1, item: "a", error_type: "E", message: "m", tries: 1, ...changes };
}

test("a search finds words in label, error and message, in any case and order", () => {
  expect(search(FAILURES, "WIDE d.png", null)).toEqual([FAILURES[0]]);
  expect(search(FAILURES, "", null)).toEqual(FAILURES);
  expect(search(FAILURES, "nothing", null)).toEqual([]);
  expect(search(FAILURES, "", "builtins.OSError")).toEqual([FAILURES[1]]);
});

test("types of errors are counted, the most first", () => {
  expect(types([failure({}), failure({ error_type: "F" }), failure({ error_type: "F" })])).toEqual([
    ["F", 2],
    ["E", 1],
  ]);
});

test("CSV quotes what has to be quoted, and has a line for each failure", () => {
  expect(toCsv(FAILURES)).toBe(
    'index,item,error_type,message,tries\r\n4,d.png,builtins.ValueError,too wide,3\r\n8,"\'=cmd()",builtins.OSError,"a ""quoted"", word",1\r\n',
  );
});

test.each(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "＝1"])(
  "a spreadsheet takes %j as text",
  (item) => {
    expect(toCsv([failure({ item })])).toContain(`"'${item}"`);
  },
);

test("JSON holds the failures as they are", () => {
  expect(JSON.parse(toJson(FAILURES))).toEqual(FAILURES);
});

test("a file is named by its task", () => {
  expect(fileName("shop/daily", "resize", -1, "csv")).toBe("shop_daily-resize-failures.csv");
  expect(fileName("shop", "resize", 3, "json")).toBe("shop-resize-3-failures.json");
});
