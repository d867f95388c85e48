// A tab's end of the stream: through the SharedWorker where there is one, else directly.
import type { Update } from "./protocol";
import { Source } from "./source";
import type { FromTab } from "./worker";

const HERE_MS = 10_000;
/** A hidden tab gives its stream back after this long and asks again when it is shown. */
const HIDDEN_MS = 60_000;

interface Line {
  subscribe(scope: string): void;
  kick(scope: string): void;
  here(scope: string): void;
  leave(): void;
}

function directLine(receive: (update: Update) => void): Line {
  let source: Source | null = null;
  const leave = () => {
    source?.close();
    source = null;
  };
  return {
    subscribe(scope) {
      leave();
      source = new Source(scope, receive);
    },
    kick: () => source?.kick(3_000),
    here: () => undefined,
    leave,
  };
}

function sharedLine(receive: (update: Update) => void, broken: () => void): Line {
  const worker = new SharedWorker(new URL("./worker.ts", import.meta.url), { type: "module", name: "machikoba" });
  const say = (message: FromTab) => worker.port.postMessage(message);
  worker.onerror = broken;
  worker.port.onmessage = (event: MessageEvent<Update>) => receive(event.data);
  return {
    subscribe: (scope) => say({ type: "subscribe", scope }),
    kick: (scope) => say({ type: "kick", scope }),
    here: (scope) => say({ type: "here", scope }),
    leave: () => say({ type: "bye" }),
  };
}

/** Follows one scope at a time for as long as the tab lives. */
export class StreamClient {
  private line: Line;
  private scope: string | null = null;
  private away: ReturnType<typeof setTimeout> | undefined;
  private left = false;

  constructor(private readonly receive: (update: Update) => void) {
    this.line = this.open();
    setInterval(() => this.stillHere(), HERE_MS);
    document.addEventListener("visibilitychange", () => this.visibilityChanged());
    addEventListener("pageshow", (event) => event.persisted && this.returned());
    addEventListener("pagehide", () => this.leave());
  }

  follow(scope: string): void {
    if (scope === this.scope && !this.left) return;
    this.scope = scope;
    this.left = false;
    this.line.subscribe(scope);
  }

  private open(): Line {
    if (typeof SharedWorker === "undefined") return directLine(this.receive);
    return sharedLine(this.receive, () => this.fallBack());
  }

  private fallBack(): void {
    this.line = directLine(this.receive);
    if (this.scope && !this.left) this.line.subscribe(this.scope);
  }

  private stillHere(): void {
    if (this.scope && !this.left && !document.hidden) this.line.here(this.scope);
  }

  private leave(): void {
    this.left = true;
    this.line.leave();
  }

  private returned(): void {
    if (this.left && this.scope) this.follow(this.scope);
    else if (this.scope) this.line.kick(this.scope);
  }

  private visibilityChanged(): void {
    clearTimeout(this.away);
    if (document.hidden) this.away = setTimeout(() => this.leave(), HIDDEN_MS);
    else this.returned();
  }
}
