// One machine on the wall: who, what, how long, why, how much. The whole tile is one link.
import { useComputed } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { StateIcon } from "../design/icons";
import { STATES, type State } from "../design/states";
import { dayTime, duration, number } from "../format";
import { localName, stateWord, t, term } from "../i18n";
import { go } from "../options";
import type { Machine } from "../stream/protocol";
import type { Fleet } from "../stream/store";

/** An alarm older than this is news from the past (a replay): it does not flash. */
const NEWS_MS = 60_000;
const PULSE_MS = 600;

export function machineHref(machine: Machine): string {
  return `/m/${encodeURIComponent(machine.site)}/${encodeURIComponent(machine.machine)}`;
}

/** When the state began, or for "no data" when there was data last. */
export function shownSince(machine: Machine, state: State): number | null {
  return state === "unknown" ? (machine.readAt ?? machine.since) : machine.since;
}

function elapsed(machine: Machine, state: State, now: number): string {
  const since = shownSince(machine, state);
  return since === null ? "" : duration(now - since);
}

/** The third line: for a silent machine what it said last, else the reason. */
function remark(machine: Machine, state: State, now: number, zone: string | undefined): string {
  if (state !== "unknown") return machine.reason ? term("reason", machine.reason) : "";
  if (machine.readAt === null) return t("tile.never");
  const last = t("tile.last", { time: dayTime(machine.readAt, now, zone) });
  return machine.lastState === "unknown" ? last : `${last} · ${t("tile.was", { state: stateWord(machine.lastState) })}`;
}

/** The id, unless the name says the same. */
function idBeside(machine: Machine): string {
  const name = localName(machine.name, machine.machine);
  return name.toLowerCase() === machine.machine ? "" : machine.machine;
}

/** The sort of machine, unless its name says so already ("NC lathe 2"). */
function kindBeside(machine: Machine): string {
  if (!machine.kind) return "";
  const kind = term("kind", machine.kind);
  const name = localName(machine.name, machine.machine);
  return name.toLowerCase().includes(kind.toLowerCase()) ? "" : kind;
}

function label(machine: Machine, state: State, now: number, said: string): string {
  const parts = machine.parts === null ? "" : t("tile.parts", { n: number(machine.parts) });
  const name = localName(machine.name, machine.machine);
  return [name, `${stateWord(state)} ${elapsed(machine, state, now)}`.trim(), said, parts]
    .filter((part) => part !== "")
    .join(", ");
}

/** One short pulse when a machine goes down before the viewer's eyes; never for old news. */
function usePulse(machine: Machine, state: State, now: number) {
  const element = useRef<HTMLAnchorElement>(null);
  const before = useRef(state);
  useEffect(() => {
    const fell = state === "down" && before.current !== "down";
    before.current = state;
    const fresh = machine.since !== null && now - machine.since < NEWS_MS;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!fell || !fresh || still) return;
    element.current?.animate([{ transform: "scale(1)" }, { transform: "scale(1.03)" }, { transform: "scale(1)" }], {
      duration: PULSE_MS,
      easing: "ease-out",
    });
  }, [state]);
  return element;
}

interface TileProps {
  readonly fleet: Fleet;
  readonly id: string;
  readonly focusable: boolean;
  /** Zone of the wall's times; without one the viewer's own. */
  readonly zone: string | undefined;
}

export function Tile({ fleet, id, focusable, zone }: TileProps) {
  const known = fleet.machine(id);
  const state = useComputed(() => fleet.shown(id));
  const machine = known?.value;
  const now = fleet.coarse.value;
  if (!machine) return null;
  const until = Math.max(now, machine.since ?? 0);
  return <Face machine={machine} state={state.value} now={until} focusable={focusable} zone={zone} />;
}

interface FaceProps {
  readonly machine: Machine;
  readonly state: State;
  readonly now: number;
  readonly focusable: boolean;
  readonly zone: string | undefined;
}

function Face({ machine, state, now, focusable, zone }: FaceProps) {
  const said = remark(machine, state, now, zone);
  const element = usePulse(machine, state, now);
  const open = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(machineHref(machine));
  };
  return (
    <a
      ref={element}
      class="tile"
      href={machineHref(machine)}
      data-key={machine.key}
      data-state={state}
      data-calm={STATES[state].calm ? "" : undefined}
      tabIndex={focusable ? 0 : -1}
      aria-label={label(machine, state, now, said)}
      onClick={open}
    >
      <span class="who">
        <b>{localName(machine.name, machine.machine)}</b>
        <span class="kind">{kindBeside(machine)}</span>
      </span>
      <span class="what">
        <StateIcon state={state} />
        <span class="word">{stateWord(state)}</span>
        <span class="long">{elapsed(machine, state, now)}</span>
      </span>
      <span class="why">
        <span class="remark">{said || idBeside(machine)}</span>
        {machine.parts !== null && <span class="parts">{t("tile.parts", { n: number(machine.parts) })}</span>}
      </span>
    </a>
  );
}
