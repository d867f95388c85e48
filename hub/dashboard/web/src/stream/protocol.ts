// The words of the live stream, as written in docs/stream.md, and their reading from the wire.
import type { State } from "../design/states";

export interface Name {
  readonly en: string | null;
  readonly ja: string | null;
}

export interface Machine {
  readonly key: string;
  readonly site: string;
  readonly machine: string;
  readonly name: Name;
  readonly kind: string | null;
  readonly state: State;
  /** The last state that was known, for a machine that has no data now. */
  readonly lastState: State;
  readonly since: number | null;
  readonly reason: string | null;
  readonly connectivity: string;
  readonly validUntil: number | null;
  readonly parts: number | null;
  readonly agentOnline: boolean;
  readonly readAt: number | null;
}

export type Quality = "good" | "uncertain" | "bad";

export interface SignalValue {
  readonly name: string;
  readonly unit: string | null;
  readonly value: number | string | boolean | null;
  readonly time: number | null;
  readonly quality: Quality;
  readonly reason: string | null;
}

/** What a subscriber of a scope is told. A snapshot replaces everything, a delta adds to it. */
export type Update =
  | { readonly type: "hello"; readonly build: string | null; readonly time: number }
  | { readonly type: "snapshot" | "delta"; readonly t: number; readonly machines: Machine[]; readonly signals: SignalValue[] };

type Row = readonly unknown[];

const text = (cell: unknown): string | null => (typeof cell === "string" && cell !== "" ? cell : null);
const number = (cell: unknown): number | null => (typeof cell === "number" ? cell : null);

// A list of its own, so that the worker does not carry icons and colours.
const STATES: Readonly<Record<State, true>> = {
  running: true,
  setup: true,
  idle: true,
  waiting: true,
  down: true,
  maintenance: true,
  off: true,
  unknown: true,
  closed: true,
};

function isState(word: string): word is State {
  return Object.hasOwn(STATES, word);
}

function readState(cell: unknown): State {
  return typeof cell === "string" && isState(cell) ? cell : "unknown";
}

function quality(cell: unknown): Quality {
  return cell === "good" || cell === "uncertain" ? cell : "bad";
}

/** Reads rows by the column names of the last snapshot, so that the hub may add columns. */
export class RowReader {
  private readonly at: ReadonlyMap<string, number>;

  constructor(columns: readonly string[]) {
    this.at = new Map(columns.map((name, index) => [name, index]));
  }

  machine(row: Row): Machine {
    const cell = (name: string) => row[this.at.get(name) ?? -1];
    const site = text(cell("site")) ?? "";
    const machine = text(cell("machine")) ?? "";
    const name = cell("name") as Partial<Name> | null | undefined;
    const state = readState(cell("state"));
    return {
      key: `${site}/${machine}`,
      site,
      machine,
      name: { en: text(name?.en), ja: text(name?.ja) },
      kind: text(cell("kind")),
      state,
      lastState: this.at.has("last_state") ? readState(cell("last_state")) : state,
      since: number(cell("since")),
      reason: text(cell("reason")),
      connectivity: text(cell("connectivity")) ?? "offline",
      validUntil: number(cell("valid_until")),
      parts: number(cell("parts")),
      agentOnline: cell("agent_online") === true,
      readAt: number(cell("read_at")),
    };
  }
}

export function readSignal(row: Row): SignalValue {
  const [name, unit, value, time, mark, reason] = row;
  const known = typeof value === "number" || typeof value === "string" || typeof value === "boolean";
  return {
    name: String(name),
    unit: text(unit),
    value: known ? value : null,
    time: number(time),
    quality: quality(mark),
    reason: text(reason),
  };
}
