/** Requests to Airflow's REST API, with the session and the rights of the user who looks. */

export interface Place {
  readonly dagId: string;
  readonly runId: string;
  readonly taskId: string;
  /** -1: the task is not mapped. */
  readonly mapIndex: number;
}

export interface Task {
  readonly state: string | null;
  readonly tryNumber: number;
  readonly maxTries: number;
}

export type Answer =
  | { readonly kind: "found"; readonly body: unknown }
  | { readonly kind: "missing" }
  | { readonly kind: "forbidden" }
  | { readonly kind: "signed out" }
  | { readonly kind: "unreachable"; readonly why: string };

const PATIENCE = 15_000;

/** Where Airflow is: its pages have it as their base, whatever proxy is before them. */
function address(path: string): string {
  return new URL(`api/v2/${path}`, document.baseURI).href;
}

export async function get(path: string, stop: AbortSignal): Promise<Answer> {
  try {
    const response = await fetch(address(path), {
      credentials: "same-origin",
      headers: { Accept: "application/json" },
      signal: AbortSignal.any([stop, AbortSignal.timeout(PATIENCE)]),
    });
    return await answered(response);
  } catch (error) {
    return { kind: "unreachable", why: error instanceof Error ? error.message : String(error) };
  }
}

async function answered(response: Response): Promise<Answer> {
  if (response.status === 401) return { kind: "signed out" };
  if (response.status === 403) return { kind: "forbidden" };
  if (response.status === 404) return { kind: "missing" };
  if (!response.ok) return { kind: "unreachable", why: `HTTP ${String(response.status)}` };
  return { kind: "found", body: await response.json() };
}

const part = encodeURIComponent;

export function dagRunPath({ dagId, runId }: Place): string {
  return `dags/${part(dagId)}/dagRuns/${part(runId)}`;
}

function taskPath(place: Place): string {
  return `${dagRunPath(place)}/taskInstances/${part(place.taskId)}`;
}

export function taskInstancePath(place: Place): string {
  return place.mapIndex < 0 ? taskPath(place) : `${taskPath(place)}/${String(place.mapIndex)}`;
}

export function mappedPath(place: Place): string {
  return `${taskPath(place)}/listMapped?limit=100&order_by=map_index`;
}

/** Not deserialized: the record is plain JSON, and the server need not load anything for it. */
export function xcomPath(place: Place, key: string): string {
  return `${taskPath(place)}/xcomEntries/${part(key)}?map_index=${String(place.mapIndex)}`;
}

/** Whether there is one: asked first, since a browser's console shows each 404 as an error. */
export function xcomListPath(place: Place, key: string): string {
  return `${taskPath(place)}/xcomEntries?xcom_key=${part(key)}&map_index=${String(place.mapIndex)}&limit=1`;
}

/** An XCom, as `get` gives it; missing where the server lists none. */
export async function getXcom(place: Place, key: string, stop: AbortSignal): Promise<Answer> {
  const listed = await get(xcomListPath(place, key), stop);
  if (listed.kind === "found" && (listed.body as { total_entries?: number }).total_entries === 0) return { kind: "missing" };
  return listed.kind === "found" ? get(xcomPath(place, key), stop) : listed;
}

export function earlierRunsPath({ dagId }: Place, limit: number): string {
  return `dags/${part(dagId)}/dagRuns?order_by=-run_after&limit=${String(limit)}`;
}

/** The tab of another task instance, as a link that works below any base. */
export function tabLink({ dagId, runId, taskId, mapIndex }: Place): string {
  const mapped = mapIndex < 0 ? "" : `/mapped/${String(mapIndex)}`;
  return `dags/${part(dagId)}/runs/${part(runId)}/tasks/${part(taskId)}${mapped}/plugin/fan-out`;
}

export function asTask(body: unknown): Task {
  const fields = body as Record<string, unknown>;
  return {
    state: typeof fields.state === "string" ? fields.state : null,
    tryNumber: typeof fields.try_number === "number" ? fields.try_number : 1,
    maxTries: typeof fields.max_tries === "number" ? fields.max_tries : 0,
  };
}
