// The hub's HTTP answers that the page reads, each checked no further than it is used.
import type { Name } from "./stream/protocol";
import { type State, isState } from "./design/states";

export interface Site {
  readonly site: string;
  readonly name: Name;
  readonly time_zone: string | null;
}

export interface Interval {
  readonly start: number;
  /** Null while it lasts. */
  readonly end: number | null;
  readonly state: State;
  readonly reason: string | null;
  readonly evidence: string | null;
}

/** Points of one signal; null is a gap. Raw points have the same value thrice. */
export interface History {
  readonly unit: string | null;
  readonly time: number[];
  readonly mean: (number | null)[];
  readonly min: (number | null)[];
  readonly max: (number | null)[];
}

const TIMEOUT_MS = 15_000;

async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const response = await fetch(`/api/v1${path}`, {
    headers: { accept: "application/json" },
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return (await response.json()) as T;
}

const range = (from: number, to: number): Record<string, string> => ({
  from: new Date(from).toISOString(),
  to: new Date(to).toISOString(),
});

function machinePath(site: string, machine: string): string {
  return `/machines/${encodeURIComponent(site)}/${encodeURIComponent(machine)}`;
}

export async function readSites(): Promise<Site[]> {
  return (await getJson<{ items: Site[] }>("/sites?limit=500")).items;
}

interface RawInterval {
  readonly start: string;
  readonly end: string | null;
  readonly state: string;
  readonly reason?: string | null;
  readonly evidence?: string | null;
}

export async function readTimeline(
  site: string,
  machine: string,
  from: number,
  to: number,
  signal?: AbortSignal,
): Promise<Interval[]> {
  const query = new URLSearchParams(range(from, to));
  const path = `${machinePath(site, machine)}/timeline?${query}`;
  const { intervals } = await getJson<{ intervals: RawInterval[] }>(path, signal);
  return intervals.map((raw) => ({
    start: Date.parse(raw.start),
    end: raw.end === null ? null : Date.parse(raw.end),
    state: isState(raw.state) ? raw.state : "unknown",
    reason: raw.reason || null,
    evidence: raw.evidence || null,
  }));
}

interface RawHistory {
  readonly unit?: string | null;
  readonly columns: string[];
  readonly rows: (number | string | boolean | null)[][];
}

function instant(cell: unknown): number {
  return typeof cell === "number" ? cell : Date.parse(String(cell));
}

/** Booleans are drawn as 0 and 1; text has no place in a chart. */
function point(cell: unknown): number | null {
  if (typeof cell === "boolean") return Number(cell);
  return typeof cell === "number" ? cell : null;
}

export async function readHistory(
  machine: { site: string; machine: string },
  name: string,
  window: { from: number; to: number; points: number },
  signal?: AbortSignal,
): Promise<History> {
  const query = new URLSearchParams({ ...range(window.from, window.to), max_points: String(window.points) });
  const path = `${machinePath(machine.site, machine.machine)}/signals/${encodeURIComponent(name)}/history?${query}`;
  const raw = await getJson<RawHistory>(path, signal);
  const column = (...names: string[]) => {
    const index = Math.max(...names.map((each) => raw.columns.indexOf(each)));
    return raw.rows.map((row) => row[index]);
  };
  return {
    unit: raw.unit ?? null,
    time: column("t").map(instant),
    mean: column("mean", "value").map(point),
    min: column("min", "value").map(point),
    max: column("max", "value").map(point),
  };
}
