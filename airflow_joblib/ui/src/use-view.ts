/**
 * Looks at the server again and again while there is more to come, and not while nobody sees the page.
 * For one task instance: whoever shows another one mounts it anew.
 */

import { useCallback, useEffect, useRef, useState } from "react";

import { type Place, get, getXcom, taskInstancePath, xcomPath } from "./api";
import { type View, nextLook, viewOf } from "./view";

const KEY = "fan_out";

export interface Looked {
  readonly view: View;
  /** Why the last look failed, with what was seen before still there; null when it did not. */
  readonly trouble: string | null;
  readonly again: () => void;
}

export function useView(place: Place): Looked {
  const { dagId, runId, taskId, mapIndex } = place;
  const [view, setView] = useState<View>({ kind: "loading" });
  const [trouble, setTrouble] = useState<string | null>(null);
  const look = useRef<() => void>(() => undefined);

  useEffect(() => {
    const stop = new AbortController();
    const at: Place = { dagId, runId, taskId, mapIndex };
    let timer: number | undefined;
    let seen: View = { kind: "loading" };
    let failures = 0;
    let looks = 0;

    const show = (found: View): void => {
      failures = found.kind === "unreachable" ? failures + 1 : 0;
      const keep = found.kind === "unreachable" && (seen.kind === "runs" || seen.kind === "waiting");
      setTrouble(found.kind === "unreachable" && keep ? found.why : null);
      if (!keep) {
        // The task may have ended between the two answers: the record's last word is there at the next look.
        const once = found.kind === "runs" && found.cutShort && !(seen.kind === "runs" && seen.cutShort);
        seen = found;
        setView(found);
        if (once) {
          timer = window.setTimeout(run, 1_000);
          return;
        }
      }
      const wait = nextLook(found, failures);
      if (wait !== null) timer = window.setTimeout(run, wait);
    };

    const run = (): void => {
      window.clearTimeout(timer);
      if (document.hidden && looks > 0) return; // goes on when the page is seen again
      looks += 1;
      const mine = looks;
      const known = seen.kind === "runs" && seen.task?.state === "running"; // the next try's start takes it away
      const task = get(taskInstancePath(at), stop.signal);
      const xcom = known ? get(xcomPath(at, KEY), stop.signal) : getXcom(at, KEY, stop.signal);
      void Promise.all([task, xcom]).then((answers) => {
        if (!stop.signal.aborted && mine === looks) show(viewOf(...answers, at.mapIndex));
      });
    };

    const seenAgain = (): void => {
      if (!document.hidden) run();
    };

    look.current = run;
    run();
    document.addEventListener("visibilitychange", seenAgain);
    return () => {
      stop.abort();
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", seenAgain);
    };
  }, [dagId, runId, taskId, mapIndex]);

  const again = useCallback(() => {
    look.current();
  }, []);
  return { view, trouble, again };
}
