// What a state timeline shows, computed: intervals joined with the live state, shares, ticks.
import type { Interval } from "../api";
import type { State } from "../design/states";
import type { Machine } from "../stream/protocol";

export interface Span {
  readonly from: number;
  readonly to: number;
}

export interface Segment extends Span {
  readonly state: State;
  readonly reason: string | null;
  /** True for the last one, while it lasts. */
  readonly open: boolean;
}

function clip(interval: Interval, window: Span): Segment {
  return {
    from: Math.max(interval.start, window.from),
    to: Math.min(interval.end ?? window.to, window.to),
    state: interval.state,
    reason: interval.reason,
    open: interval.end === null,
  };
}

/** The recorded intervals within the window, continued by the live state where it is newer. */
export function segments(intervals: readonly Interval[], live: Machine | null, window: Span): Segment[] {
  const recorded = intervals.map((each) => clip(each, window)).filter((each) => each.to > each.from);
  const last = recorded.at(-1);
  if (!live || live.since === null || live.state === "unknown") return recorded;
  if (last && (last.state === live.state || live.since <= last.from)) return recorded;
  const start = Math.max(live.since, window.from);
  const before = last && last.to > start ? [...recorded.slice(0, -1), { ...last, to: start, open: false }] : recorded;
  return start < window.to
    ? [...before, { from: start, to: window.to, state: live.state, reason: live.reason, open: true }]
    : before;
}

/** How long each state lasted, the longest first. */
export function shares(all: readonly Segment[]): { state: State; ms: number }[] {
  const sums = new Map<State, number>();
  for (const { state, from, to } of all) sums.set(state, (sums.get(state) ?? 0) + to - from);
  return [...sums].map(([state, ms]) => ({ state, ms })).sort((a, b) => b.ms - a.ms);
}

/** Index of the segment at an instant, or of the nearest before it; -1 when there is none. */
export function segmentAt(all: readonly Segment[], time: number): number {
  let low = 0;
  let high = all.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const segment = all[middle];
    if (!segment) break;
    if (time < segment.from) high = middle - 1;
    else low = middle + 1;
  }
  return high;
}

const MINUTE = 60_000;
const STEPS = [5, 15, 30, 60, 120, 180, 360, 720, 1440].map((minutes) => minutes * MINUTE);

function zoneOffset(time: number, timeZone: string | undefined): number {
  const parts = new Intl.DateTimeFormat("en-US", {
    ...(timeZone && { timeZone }),
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(time);
  const part = (type: string) => Number(parts.find((each) => each.type === type)?.value);
  const wall = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return wall - Math.floor(time / 1000) * 1000;
}

/** Round local times within the window, at most `most` of them. */
export function ticks(window: Span, most: number, timeZone?: string): number[] {
  const length = window.to - window.from;
  const step = STEPS.find((each) => length / each <= most) ?? 1440 * MINUTE;
  const found: number[] = [];
  for (let wall = Math.ceil((window.from + zoneOffset(window.from, timeZone)) / step) * step; ; wall += step) {
    // The offset of that very instant: a day may have 23 or 25 hours.
    const guess = wall - zoneOffset(window.from, timeZone);
    const time = wall - zoneOffset(guess, timeZone);
    if (time > window.to) return found;
    found.push(time);
  }
}
