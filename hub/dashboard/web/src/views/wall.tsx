// The andon wall: every machine of the scope, at its fixed place, grouped by site.
import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Site } from "../api";
import { StateIcon } from "../design/icons";
import { STATES, STATE_NAMES, type State } from "../design/states";
import { dayTime, number } from "../format";
import { localName, plural, stateWord, t } from "../i18n";
import { filter, hidesCalm, kiosk, showAll, site as siteChosen, sort, toggleState } from "../options";
import type { Machine } from "../stream/protocol";
import { type Fleet, countStates } from "../stream/store";
import { useFit } from "./fit";
import { Header } from "./header";
import { useKiosk } from "./kiosk";
import { Link } from "./link";
import { moveFocus } from "./roving";
import { Tile } from "./tile";

interface Group {
  readonly site: string;
  readonly keys: readonly string[];
}

interface WallProps {
  readonly fleet: Fleet;
  readonly sites: ReadonlySignal<ReadonlyMap<string, Site>>;
}

const CHIP_ORDER: readonly State[] = STATE_NAMES;

function Chips({ fleet }: { readonly fleet: Fleet }) {
  const counts = useMemo(() => countStates(fleet), [fleet]).value;
  const shown = CHIP_ORDER.filter((state) => counts.has(state) || state === "down" || filter.value?.has(state));
  return (
    <div class="chips" role="group" aria-label={t("wall.filter")}>
      {shown.map((state) => {
        const n = counts.get(state) ?? 0;
        const pressed = !hidesCalm.value && (filter.value?.has(state) ?? false);
        return (
          <button
            key={state}
            type="button"
            class="chip"
            data-state={state}
            data-none={n === 0 ? "" : undefined}
            aria-pressed={pressed}
            onClick={() => toggleState(state)}
          >
            <StateIcon state={state} />
            <b>{number(n)}</b>
            <span>{stateWord(state)}</span>
          </button>
        );
      })}
    </div>
  );
}

function peekMachine(fleet: Fleet, key: string): Machine | undefined {
  return fleet.machine(key)?.peek();
}

/** Sites and machines at the hub's fixed places, the same in every language, or the worst first. */
function useGroups(fleet: Fleet): ReadonlySignal<readonly Group[]> {
  // A text is compared by value, so that tiles are laid out anew only when an order really changed.
  const order = useComputed(() => {
    fleet.version.value;
    const chosen = filter.value;
    const groups = new Map<string, string[]>();
    for (const key of fleet.keys.value) {
      const machine = peekMachine(fleet, key);
      if (!machine || (chosen && !chosen.has(fleet.shown(key)))) continue;
      const members = groups.get(machine.site);
      if (members) members.push(key);
      else groups.set(machine.site, [key]);
    }
    const rank = (key: string) => STATES[fleet.shown(key)].rank;
    const since = (key: string) => peekMachine(fleet, key)?.since ?? 0;
    const ordered = [...groups];
    if (sort.value === "worst") {
      for (const [, keys] of ordered) keys.sort((a, b) => rank(a) - rank(b) || since(a) - since(b));
      ordered.sort(([, a], [, b]) => rank(a[0] ?? "") - rank(b[0] ?? ""));
    }
    return JSON.stringify(ordered);
  });
  return useComputed(() =>
    (JSON.parse(order.value) as [string, string[]][]).map(([site, keys]) => ({ site, keys })),
  );
}

function siteName(sites: ReadonlyMap<string, Site>, id: string): string {
  const known = sites.get(id);
  return known ? localName(known.name, id) : id;
}

/** The zone that all sites shown live in; when they differ, none: times are then the viewer's own. */
function sharedZone(fleet: Fleet, sites: ReadonlyMap<string, Site>): string | undefined {
  const ids = new Set(fleet.keys.value.map((key) => key.slice(0, key.indexOf("/"))));
  const zones = new Set([...ids].map((id) => sites.get(id)?.time_zone ?? undefined));
  return zones.size === 1 ? [...zones][0] : undefined;
}

interface SiteNoteProps {
  readonly fleet: Fleet;
  readonly id: string;
  readonly zone: string | undefined;
}

function SiteNote({ fleet, id, zone }: SiteNoteProps) {
  const note = useComputed(() => {
    fleet.version.value;
    const machines = fleet.keys.value
      .map((key) => peekMachine(fleet, key))
      .filter((machine): machine is Machine => machine?.site === id);
    const running = machines.filter((machine) => fleet.shown(machine.key) === "running").length;
    const silent = machines.filter((machine) => !machine.agentOnline);
    const last = Math.max(0, ...silent.map((machine) => machine.readAt ?? 0));
    const lost = silent.length === machines.length && machines.length > 0;
    return `${running}/${machines.length}/${lost ? last : ""}`;
  });
  const [running, total, lost] = note.value.split("/");
  return (
    <>
      <span class="note">{t("wall.running_of", { running: running ?? "", total: total ?? "" })}</span>
      {lost && (
        <span class="lost">
          <StateIcon state="unknown" />
          {t("wall.site_lost", { time: lost === "0" ? "—" : dayTime(Number(lost), fleet.coarse.value, zone) })}
        </span>
      )}
    </>
  );
}

/** Tells screen readers in one line that machines went down; at most once in five seconds. */
function Announcer({ fleet }: { readonly fleet: Fleet }) {
  const said = useSignal("");
  const mutedUntil = useSignal(0);
  useEffect(() => {
    const falls = fleet.falls.value;
    const first = falls[0]?.machine;
    if (!first || performance.now() < mutedUntil.peek()) return;
    mutedUntil.value = performance.now() + 5_000;
    said.value =
      falls.length > 1
        ? t("say.many_down", { n: falls.length })
        : t("say.down", { name: localName(first.name, first.machine), state: stateWord("down") });
  }, [fleet.falls.value]);
  return (
    <p class="unseen" role="status" aria-live="polite">
      {said.value}
    </p>
  );
}

function WallTitle({ fleet, sites }: WallProps) {
  const chosen = siteChosen.value;
  const count = plural("wall.machines", fleet.keys.value.length);
  return (
    <>
      <h1>{t("app.title")}</h1>
      <p>
        {chosen ? (
          <>
            {siteName(sites.value, chosen)} · <Link href="/wall">{t("nav.all_sites")}</Link>
          </>
        ) : (
          t("nav.all_sites")
        )}
        {" · "}
        {count}
      </p>
    </>
  );
}

function Nothing({ fleet }: { readonly fleet: Fleet }) {
  const text =
    fleet.freshness.value === "connecting" || fleet.frameTime.value === 0
      ? t("live.connecting")
      : fleet.keys.value.length === 0
        ? t("wall.empty")
        : t("wall.no_match");
  return <p class="nothing">{text}</p>;
}

function HiddenNote({ fleet, groups }: { readonly fleet: Fleet; readonly groups: readonly Group[] }) {
  const shown = groups.reduce((sum, group) => sum + group.keys.length, 0);
  const hidden = fleet.keys.value.length - shown;
  if (!hidesCalm.value || hidden === 0) return null;
  return (
    <p class="hidden">
      {plural("wall.hidden", hidden)}
      <button type="button" onClick={showAll}>
        {t("wall.show_all")}
      </button>
    </p>
  );
}

export function Wall({ fleet, sites }: WallProps) {
  const groups = useGroups(fleet).value;
  const focused = useSignal<string | null>(null);
  const paging = useKiosk(kiosk.value);
  const zone = sharedZone(fleet, sites.value);
  const fitting = useFit(fleet).value;
  const size = fitting && { "--unit": `${fitting.growth}rem`, "--columns": fitting.columns };
  const keys = groups.flatMap((group) => group.keys);
  const first = focused.value !== null && keys.includes(focused.value) ? focused.value : keys[0];
  const focusedTile = (event: FocusEvent) => {
    const key = (event.target as HTMLElement).dataset["key"];
    if (key) focused.value = key;
  };
  return (
    <>
      <a class="skip" href="#machines">
        {t("nav.skip")}
      </a>
      <Header fleet={fleet} zone={zone} title={<WallTitle fleet={fleet} sites={sites} />}>
        <Chips fleet={fleet} />
      </Header>
      <main
        id="machines"
        tabIndex={-1}
        data-fresh={fleet.freshness.value}
        data-fits={fitting ? "" : undefined}
        style={size ?? {}}
        onKeyDown={moveFocus}
        onFocusIn={focusedTile}
      >
        <HiddenNote fleet={fleet} groups={groups} />
        {groups.length === 0 && <Nothing fleet={fleet} />}
        {groups.map((group) => (
          <section key={group.site} aria-labelledby={`site-${group.site}`}>
            <div class="site">
              <h2 id={`site-${group.site}`}>
                <Link href={`/wall?site=${encodeURIComponent(group.site)}`}>{siteName(sites.value, group.site)}</Link>
              </h2>
              <SiteNote fleet={fleet} id={group.site} zone={zone} />
            </div>
            <ul class="tiles">
              {group.keys.map((key) => (
                <li key={key}>
                  <Tile fleet={fleet} id={key} focusable={key === first} zone={zone} />
                </li>
              ))}
            </ul>
          </section>
        ))}
      </main>
      {paging && paging.pages > 1 && (
        <>
          <div class="curtain" style={{ height: `${paging.cut}px` }} />
          <p class="pages">
            {t("wall.page", { page: paging.page + 1, pages: paging.pages })}
            {paging.paused && ` · ${t("wall.paused")}`}
          </p>
        </>
      )}
      <Announcer fleet={fleet} />
    </>
  );
}
