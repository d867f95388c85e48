// The one place of a browser that is connected to the hub: tabs of the same scope share a stream,
// because browsers allow about six connections to a server and a seventh tab would hang.
import type { Update } from "./protocol";
import { Source } from "./source";

/** A tab says "here" every ten seconds while it is shown; one that closed cannot say so reliably. */
const GONE_MS = 35_000;

export type FromTab =
  | { readonly type: "subscribe" | "here" | "kick"; readonly scope: string }
  | { readonly type: "bye" };

interface Tab {
  scope: string;
  seenAt: number;
}

const tabs = new Map<MessagePort, Tab>();
const sources = new Map<string, Source>();

function tell(scope: string, update: Update): void {
  for (const [port, tab] of tabs) if (tab.scope === scope) port.postMessage(update);
}

function dropUnused(): void {
  const wanted = new Set([...tabs.values()].map((tab) => tab.scope));
  for (const [scope, source] of sources) {
    if (wanted.has(scope)) continue;
    source.close();
    sources.delete(scope);
  }
}

function subscribe(port: MessagePort, scope: string): void {
  tabs.set(port, { scope, seenAt: Date.now() });
  const running = sources.get(scope);
  if (running) for (const update of running.replay()) port.postMessage(update);
  else sources.set(scope, new Source(scope, (update) => tell(scope, update)));
  dropUnused();
}

function hear(port: MessagePort, message: FromTab): void {
  if (message.type === "bye") {
    tabs.delete(port);
    dropUnused();
    return;
  }
  const tab = tabs.get(port);
  // A tab that slept with its computer was given up meanwhile: its next word brings it back.
  if (message.type === "subscribe" || tab?.scope !== message.scope) subscribe(port, message.scope);
  else tab.seenAt = Date.now();
  if (message.type === "kick") sources.get(message.scope)?.kick(3_000);
}

addEventListener("connect", (event) => {
  const port = (event as MessageEvent).ports[0];
  if (!port) return;
  port.onmessage = (message: MessageEvent<FromTab>) => hear(port, message.data);
});

setInterval(() => {
  for (const [port, tab] of tabs) if (Date.now() - tab.seenAt > GONE_MS) tabs.delete(port);
  dropUnused();
}, 5_000);
