// One scope of the live stream: connects, reads, notices silence, reconnects, resumes.
// Runs in the SharedWorker, or in the page where there is none.
import { type Machine, RowReader, type SignalValue, type Update, readSignal } from "./protocol";

/** Silence after which a connection is taken for dead: some browsers never notice a dead socket. */
const SILENCE_MS = 8_000;
const CHECK_MS = 1_000;
/** Upper bounds of the random pause before each try; the last repeats. */
const PAUSES_MS = [1_000, 2_000, 3_000] as const;

interface Hello {
  readonly build: string | null;
  readonly server_time: number;
}

interface Frame {
  readonly t: number;
  readonly cols?: string[];
  readonly m?: unknown[][];
  readonly d?: unknown[][];
  readonly s?: unknown[][];
}

export class Source {
  private events: EventSource | null = null;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private readonly watch: ReturnType<typeof setInterval>;
  private heardAt = Date.now();
  private failures = 0;
  private lastId = "";
  private reader: RowReader | null = null;
  private time = 0;
  private readonly machines = new Map<string, Machine>();
  private readonly signals = new Map<string, SignalValue>();
  private hello: Update | null = null;

  constructor(
    private readonly scope: string,
    private readonly emit: (update: Update) => void,
  ) {
    this.connect();
    this.watch = setInterval(() => this.kick(SILENCE_MS), CHECK_MS);
  }

  /** What a subscriber needs that comes when the stream already runs. */
  replay(): Update[] {
    if (!this.reader) return [];
    const snapshot: Update = {
      type: "snapshot",
      t: this.time,
      machines: [...this.machines.values()],
      signals: [...this.signals.values()],
    };
    return this.hello ? [this.hello, snapshot] : [snapshot];
  }

  /** Reconnects if nothing was heard for so long and no try is waiting already. */
  kick(silence: number): void {
    if (this.events && Date.now() - this.heardAt > silence) this.lost();
  }

  close(): void {
    clearInterval(this.watch);
    clearTimeout(this.retry);
    this.events?.close();
    this.events = null;
  }

  private connect(): void {
    const query = new URLSearchParams({ scope: this.scope });
    // An EventSource of our own timing cannot set the header; the hub reads this as well.
    if (this.lastId) query.set("last_event_id", this.lastId);
    const events = new EventSource(`/api/v1/stream?${query}`);
    this.events = events;
    this.heardAt = Date.now();
    events.onerror = () => this.lost();
    events.addEventListener("hello", (event) => this.greeted(event));
    events.addEventListener("snapshot", (event) => this.replaced(event));
    events.addEventListener("delta", (event) => this.changed(event));
  }

  private lost(): void {
    this.events?.close();
    this.events = null;
    const pause = PAUSES_MS[Math.min(this.failures, PAUSES_MS.length - 1)] ?? 3_000;
    this.failures += 1;
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), Math.random() * pause);
  }

  private read<T>(event: MessageEvent<string>): T {
    this.heardAt = Date.now();
    this.failures = 0;
    if (event.lastEventId) this.lastId = event.lastEventId;
    return JSON.parse(event.data) as T;
  }

  private greeted(event: MessageEvent<string>): void {
    const hello = this.read<Hello>(event);
    this.hello = { type: "hello", build: hello.build, time: hello.server_time };
    this.emit(this.hello);
  }

  private replaced(event: MessageEvent<string>): void {
    const frame = this.read<Frame>(event);
    this.reader = new RowReader(frame.cols ?? []);
    this.machines.clear();
    this.signals.clear();
    this.accept("snapshot", frame, frame.m ?? []);
  }

  private changed(event: MessageEvent<string>): void {
    const frame = this.read<Frame>(event);
    if (this.reader) this.accept("delta", frame, frame.d ?? []);
  }

  private accept(type: "snapshot" | "delta", frame: Frame, rows: unknown[][]): void {
    const reader = this.reader;
    if (!reader) return;
    const machines = rows.map((row) => reader.machine(row));
    const signals = (frame.s ?? []).map(readSignal);
    for (const machine of machines) this.machines.set(machine.key, machine);
    for (const signal of signals) this.signals.set(signal.name, signal);
    this.time = frame.t;
    this.emit({ type, t: frame.t, machines, signals });
  }
}
