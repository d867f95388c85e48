// The fleet as this page knows it, as signals: a tile is drawn again only when its machine changed.
import { type ReadonlySignal, type Signal, batch, computed, signal } from "@preact/signals";
import type { State } from "../design/states";
import type { Machine, SignalValue, Update } from "./protocol";

const LATE_MS = 5_000;
const LOST_MS = 15_000;
/** Longest stretch of work between two paints. */
const SLICE_MS = 4;
const TICK_MS = 1_000;

export type Freshness = "connecting" | "live" | "late" | "lost";
export type Fall = { readonly machine: Machine; readonly at: number };

/** What a viewer is to be told: data that is not current is "no data", whatever it said last. */
export function shownState(machine: Machine, time: number): State {
  const current = machine.validUntil === null || time <= machine.validUntil;
  return machine.connectivity === "online" && current ? machine.state : "unknown";
}

export class Fleet {
  /** Keys in the order of the hub; changes only when machines come or go. */
  readonly keys = signal<readonly string[]>([]);
  /** Grows with every applied frame: counts and orders depend on it, tiles do not. */
  readonly version = signal(0);
  /** The hub's time of the last frame. Validity is judged by it, so a lost hub greys nothing out. */
  readonly frameTime = signal(0);
  /** The hub's clock now; stops soon after the stream does, so that no age grows on its own. */
  readonly now = signal(Date.now());
  /** As `now`, in steps of ten seconds, for the many texts that count minutes. */
  readonly coarse = signal(Date.now());
  readonly freshness = signal<Freshness>("connecting");
  readonly signals = signal<ReadonlyMap<string, SignalValue>>(new Map());
  readonly build = signal<string | null>(null);
  readonly falls = signal<readonly Fall[]>([]);

  private readonly machines = new Map<string, Signal<Machine>>();
  private readonly waiting = new Map<string, Machine>();
  private scheduled = false;
  private offset: number | null = null;
  private heardAt = performance.now();
  private heardOnce = false;

  constructor() {
    setInterval(() => this.tick(), TICK_MS);
  }

  machine(key: string): ReadonlySignal<Machine> | undefined {
    return this.machines.get(key);
  }

  shown(key: string): State {
    const machine = this.machines.get(key)?.value;
    return machine ? shownState(machine, this.frameTime.value) : "unknown";
  }

  /** Forgets everything: another scope is followed from now on. */
  reset(): void {
    this.waiting.clear();
    this.machines.clear();
    this.heardAt = performance.now();
    this.heardOnce = false;
    batch(() => {
      this.keys.value = [];
      this.signals.value = new Map();
      this.freshness.value = "connecting";
      this.version.value += 1;
    });
  }

  receive(update: Update): void {
    if (update.type === "hello") {
      this.build.value = update.build;
      return;
    }
    this.heard(update.t);
    if (update.type === "snapshot") this.replace(update.machines);
    else for (const machine of update.machines) this.waiting.set(machine.key, machine);
    this.receiveSignals(update.signals, update.type === "snapshot");
    this.schedule();
  }

  private heard(t: number): void {
    const seen = t - Date.now();
    // The transport only ever delays, so the largest difference is the truest; it may sink slowly.
    const jumped = this.offset === null || Math.abs(seen - this.offset) > LATE_MS;
    this.offset = jumped ? seen : Math.max((this.offset ?? seen) - 20, seen);
    this.heardAt = performance.now();
    this.heardOnce = true;
    batch(() => {
      this.frameTime.value = t;
      this.freshness.value = "live";
    });
  }

  private replace(machines: readonly Machine[]): void {
    const keys = machines.map((machine) => machine.key);
    const present = new Set(keys);
    batch(() => {
      for (const key of this.machines.keys()) if (!present.has(key)) this.machines.delete(key);
      for (const machine of machines) {
        // New ones are put at once, or the list would name machines that nobody knows yet.
        if (this.machines.has(machine.key)) this.waiting.set(machine.key, machine);
        else this.machines.set(machine.key, signal(machine));
      }
      const old = this.keys.peek();
      const same = old.length === keys.length && old.every((key, n) => key === keys[n]);
      if (!same) this.keys.value = keys;
      this.version.value += 1;
    });
  }

  private receiveSignals(signals: readonly SignalValue[], whole: boolean): void {
    if (signals.length === 0 && !whole) return;
    const next = new Map(whole ? [] : this.signals.peek());
    for (const value of signals) next.set(value.name, value);
    this.signals.value = next;
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => this.drain());
  }

  /** Applies what waits for at most one slice; the rest waits for the next frame. */
  private drain(): void {
    this.scheduled = false;
    const until = performance.now() + SLICE_MS;
    const falls: Fall[] = [];
    for (const [key, machine] of this.waiting) {
      this.waiting.delete(key);
      const known = this.machines.get(key);
      if (!known) continue;
      if (machine.state === "down" && known.peek().state !== "down") falls.push({ machine, at: this.frameTime.peek() });
      known.value = machine;
      if (performance.now() > until) break;
    }
    batch(() => {
      if (falls.length > 0) this.falls.value = falls;
      this.version.value += 1;
    });
    if (this.waiting.size > 0) this.schedule();
  }

  private tick(): void {
    const silence = performance.now() - this.heardAt;
    batch(() => {
      if (silence >= LOST_MS) this.freshness.value = "lost";
      else if (silence >= LATE_MS) this.freshness.value = "late";
      const latest = this.heardOnce ? this.frameTime.peek() + LATE_MS : Number.POSITIVE_INFINITY;
      this.now.value = Math.min(Date.now() + (this.offset ?? 0), latest);
      if (Math.abs(this.now.value - this.coarse.peek()) >= 10_000) this.coarse.value = this.now.value;
    });
  }
}

/** How many machines are shown in each state. */
export function countStates(fleet: Fleet) {
  return computed(() => {
    fleet.version.value;
    fleet.frameTime.value;
    const counts = new Map<State, number>();
    for (const key of fleet.keys.value) {
      const machine = fleet.machine(key)?.peek();
      if (!machine) continue;
      const state = shownState(machine, fleet.frameTime.peek());
      counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    return counts;
  });
}
