// One machine: what it does and since when, what it did, how its signals ran, how fresh that is.
import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { type History, type Interval, type Site, readHistory, readTimeline } from "../api";
import { Card } from "../charts/card";
import { type Segment, type Span, segments } from "../charts/intervals";
import { Timeline, TimelineTable } from "../charts/timeline";
import { Trend, TrendTable } from "../charts/trend";
import { Icon, type IconName, StateIcon } from "../design/icons";
import type { State } from "../design/states";
import { age, clockTime, dayTime, duration, number } from "../format";
import { localName, stateWord, t, term, type Key } from "../i18n";
import { address, put } from "../options";
import type { Machine, SignalValue } from "../stream/protocol";
import type { Fleet } from "../stream/store";
import { readableEvidence } from "./evidence";
import { Header } from "./header";
import { Link } from "./link";
import { shownSince } from "./tile";

const HOUR_MS = 3_600_000;
const RANGES_H = [0.25, 1, 8, 24, 168] as const;
const RANGE_H = 24;
const AGAIN_MS = 60_000;
const RETRY_MS = 5_000;
const TRENDS_MAX = 4;
const POINTS = 400;

export interface MachineViewProps {
  readonly fleet: Fleet;
  readonly sites: ReadonlySignal<ReadonlyMap<string, Site>>;
  readonly site: string;
  readonly machine: string;
}

function chosenHours(): number | undefined {
  const given = Number(address.value.searchParams.get("h"));
  return RANGES_H.find((hours) => hours === given);
}

/** The range shown: the viewer's, else a day, or less for a machine that is new here. */
function useHours(started: ReadonlySignal<number | null>, now: number): number {
  const chosen = chosenHours();
  if (chosen !== undefined) return chosen;
  const known = started.value === null ? RANGE_H : (now - started.value) / HOUR_MS;
  return RANGES_H.find((hours) => hours >= Math.min(known, RANGE_H)) ?? RANGE_H;
}

type Reading<T> = { readonly value: T | null; readonly failure: string | null };

/** Reads again every minute, sooner after a failure; the last good answer stays meanwhile. */
function useReading<T>(read: (signal: AbortSignal) => Promise<T>, depends: readonly unknown[]): Reading<T> {
  const [state, setState] = useState<Reading<T>>({ value: null, failure: null });
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const again = (ms: number) => {
      if (!abort.signal.aborted) timer = setTimeout(run, ms);
    };
    const run = () => {
      read(abort.signal).then(
        (value) => {
          if (abort.signal.aborted) return;
          setState({ value, failure: null });
          again(AGAIN_MS);
        },
        (error: unknown) => {
          if (abort.signal.aborted) return;
          setState(({ value }) => ({ value, failure: error instanceof Error ? error.message : String(error) }));
          again(RETRY_MS);
        },
      );
    };
    run();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, depends);
  return state;
}

function Banner({ machine, state, now, zone, evidence }: {
  readonly machine: Machine;
  readonly state: State;
  readonly now: number;
  readonly zone: string | undefined;
  readonly evidence: string | null;
}) {
  const since = shownSince(machine, state);
  return (
    <section class="banner" data-state={state} aria-label={stateWord(state)}>
      <StateIcon state={state} />
      <div class="word">
        <p class="big">
          {stateWord(state)} {since !== null && <span class="long">{duration(now - since)}</span>}
        </p>
        <p>
          {since !== null && t("machine.since", { time: dayTime(since, now, zone) })}
          {state === "unknown" && machine.lastState !== "unknown" && ` · ${t("tile.was", { state: stateWord(machine.lastState) })}`}
        </p>
      </div>
      <dl>
        {machine.reason && (
          <div>
            <dt>{t("machine.reason")}</dt>
            <dd>{term("reason", machine.reason)}</dd>
          </div>
        )}
        {evidence && (
          <div>
            <dt>{t("machine.evidence")}</dt>
            <dd>{readableEvidence(evidence)}</dd>
          </div>
        )}
        {machine.parts !== null && (
          <div class="count">
            <dt>{t("lite.parts")}</dt>
            <dd>{number(machine.parts)}</dd>
          </div>
        )}
      </dl>
    </section>
  );
}

type LinkState = "ok" | "late" | "lost" | "unknown" | "never";
const LINK_ICON: Record<LinkState, IconName> = { ok: "check", late: "clock", lost: "cross", unknown: "question", never: "question" };

function pageLink(fleet: Fleet): LinkState {
  const freshness = fleet.freshness.value;
  if (freshness === "live") return "ok";
  return freshness === "lost" ? "lost" : "late";
}

function machineLink(machine: Machine, fleet: Fleet): LinkState {
  if (!machine.agentOnline) return machine.connectivity === "never-seen" ? "never" : "unknown";
  const expired = machine.validUntil !== null && fleet.frameTime.value > machine.validUntil;
  if (machine.connectivity === "online") {
    // The agent says so value by value long before the last good reading expires.
    const values = [...fleet.signals.value.values()];
    if (values.length > 0 && values.every((value) => value.quality === "bad")) return "lost";
    return expired ? "late" : "ok";
  }
  return ({ stale: "late", offline: "lost", "never-seen": "never" } as const)[machine.connectivity] ?? "unknown";
}

function LinkStep({ title, state, detail }: { readonly title: string; readonly state: LinkState; readonly detail: string }) {
  return (
    <li data-link={state}>
      <Icon name={LINK_ICON[state]} />
      <div>
        <p class="muted">{title}</p>
        <p>
          <b>{t(`link.${state}`)}</b>
        </p>
        <p class="muted">{detail}</p>
      </div>
    </li>
  );
}

/** The way of the data in its three stretches, so that one sees where it is cut. */
function Links({ machine, fleet, zone }: { readonly machine: Machine; readonly fleet: Fleet; readonly zone: string | undefined }) {
  // The row's own time is renewed only now and then; a signal's value proves a later reading.
  const answered = [...fleet.signals.value.values()].filter((value) => value.quality !== "bad");
  const newest = Math.max(machine.readAt ?? 0, ...answered.map((value) => value.time ?? 0));
  const read = machine.readAt === null ? t("tile.never") : t("link.read", { time: clockTime(newest, zone, true) });
  return (
    <Card title={t("link.title")} class="links-card">
      <ol class="links">
        <LinkStep title={t("link.machine")} state={machineLink(machine, fleet)} detail={read} />
        <LinkStep
          title={t("link.agent")}
          state={machine.agentOnline ? "ok" : "lost"}
          detail={machine.agentOnline ? t("link.connected") : t("link.buffering")}
        />
        <LinkStep
          title={t("link.page")}
          state={pageLink(fleet)}
          detail={t("link.frame", { time: clockTime(fleet.frameTime.value, zone, true) })}
        />
      </ol>
    </Card>
  );
}

const QUALITY_ICON: Record<SignalValue["quality"], IconName> = { good: "check", uncertain: "wave", bad: "cross" };

function shownValue({ value, unit }: SignalValue): string {
  if (value === null) return t("value.none");
  if (typeof value === "boolean") return t(value ? "value.true" : "value.false");
  const written = typeof value === "number" ? number(value) : value;
  return unit ? `${written} ${unit}` : written;
}

function LiveValues({ fleet }: { readonly fleet: Fleet }) {
  const values = [...fleet.signals.value.values()].sort((a, b) => a.name.localeCompare(b.name));
  const now = fleet.now.value;
  return (
    <Card title={t("values.title")} class="values-card">
      {values.length === 0 ? (
        <p class="muted">{t("values.empty")}</p>
      ) : (
        <table class="values">
          <thead>
            <tr>
              <th scope="col">{t("values.signal")}</th>
              <th scope="col" class="figure">{t("values.value")}</th>
              <th scope="col">{t("values.quality")}</th>
              <th scope="col" class="figure">{t("values.age")}</th>
            </tr>
          </thead>
          <tbody>
            {values.map((value) => (
              <tr key={value.name} data-quality={value.quality}>
                <th scope="row">{value.name}</th>
                <td class="figure">{shownValue(value)}</td>
                <td class="quality">
                  <Icon name={QUALITY_ICON[value.quality]} />
                  {t(`quality.${value.quality}`)}
                  {value.reason && <span class="muted"> · {term("reason", value.reason)}</span>}
                </td>
                <td class="figure">{value.time === null ? t("value.none") : age(now - value.time)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}

function RangeChoice({ hours }: { readonly hours: number }) {
  return (
    <div class="ranges" role="group" aria-label={t("timeline.range")}>
      {RANGES_H.map((each) => (
        <button key={each} type="button" class="small" aria-pressed={each === hours} onClick={() => put("h", String(each))}>
          {t(`timeline.range.${each}` as Key)}
        </button>
      ))}
    </div>
  );
}

function Failure({ cause }: { readonly cause: string | null }) {
  return cause === null ? null : (
    <p class="failure" role="status">
      {t("chart.failed", { cause })}
    </p>
  );
}

/** What most people want to see first; then whatever has a unit; counters and codes last. */
const UNITS_FIRST = ["kW", "W", "%", "rpm", "1/min", "min-1", "°C"];

function interest(value: SignalValue): number {
  if (value.unit === null) return UNITS_FIRST.length + 1;
  const place = UNITS_FIRST.indexOf(value.unit);
  return place < 0 ? UNITS_FIRST.length : place;
}

function mostInteresting(fleet: Fleet, numeric: readonly string[]): string[] {
  const values = fleet.signals.peek();
  const rank = (name: string) => {
    const value = values.get(name);
    return value ? interest(value) : UNITS_FIRST.length + 1;
  };
  const best = numeric.toSorted((a, b) => rank(a) - rank(b)).slice(0, TRENDS_MAX);
  return numeric.filter((name) => best.includes(name));
}

function chosenSignals(fleet: Fleet, numeric: readonly string[]): string[] {
  const given = address.value.searchParams.get("signals");
  if (given === null) return mostInteresting(fleet, numeric);
  return given.split(",").filter((name) => numeric.includes(name)).slice(0, TRENDS_MAX);
}

function SignalChoice({ numeric, chosen }: { readonly numeric: readonly string[]; readonly chosen: readonly string[] }) {
  const toggle = (name: string) => {
    const next = chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name];
    put("signals", numeric.filter((each) => next.includes(each)).join(","));
  };
  return (
    <fieldset class="choice">
      <legend class="unseen">{t("trend.choose")}</legend>
      {numeric.map((name) => (
        <label key={name}>
          <input
            type="checkbox"
            checked={chosen.includes(name)}
            disabled={!chosen.includes(name) && chosen.length >= TRENDS_MAX}
            onChange={() => toggle(name)}
          />
          <span>{name}</span>
        </label>
      ))}
    </fieldset>
  );
}

async function readHistories(
  machine: { site: string; machine: string },
  names: readonly string[],
  window: Span,
  signal: AbortSignal,
): Promise<Map<string, History>> {
  const read = names.map((name) => readHistory(machine, name, { ...window, points: POINTS }, signal));
  const histories = await Promise.all(read);
  return new Map(names.map((name, n) => [name, histories[n] as History]));
}

interface TrendsProps extends Pick<MachineViewProps, "fleet" | "site" | "machine"> {
  readonly hours: number;
  readonly window: Span;
  readonly zone: string | undefined;
}

function Trends({ fleet, site, machine, hours, window, zone }: TrendsProps) {
  const numericKey = useComputed(() =>
    JSON.stringify(
      [...fleet.signals.value.values()]
        // What has a unit is a number, also while it cannot be read.
        .filter(({ value, unit }) => typeof value === "number" || (value === null && unit !== null))
        .map((value) => value.name)
        .sort(),
    ),
  );
  // A signal that turns bad has no number any more but keeps its chart.
  const [numeric, setNumeric] = useState<readonly string[]>([]);
  useEffect(() => {
    const now = JSON.parse(numericKey.value) as string[];
    setNumeric((before) => [...new Set([...before, ...now])].sort());
  }, [numericKey.value]);
  const chosen = chosenSignals(fleet, numeric);
  const { value, failure } = useReading(
    (signal) => {
      const to = fleet.now.peek();
      return readHistories({ site, machine }, chosen, { from: to - hours * HOUR_MS, to }, signal);
    },
    [site, machine, chosen.join(), hours],
  );
  const table = value ? () => <TrendTable names={chosen} histories={value} window={window} zone={zone} /> : undefined;
  return (
    <Card title={t("trend.title")} {...(table && { table })}>
      {numeric.length > 0 && <SignalChoice numeric={numeric} chosen={chosen} />}
      <Failure cause={failure} />
      {numeric.length === 0 && <p class="muted">{t("trend.empty")}</p>}
      {numeric.length > 0 && chosen.length === 0 && <p class="muted">{t("trend.none")}</p>}
      {value === null && failure === null && chosen.length > 0 && <p class="muted">{t("chart.loading")}</p>}
      <div class="trends">
        {value &&
          chosen.map((name, n) => {
            const history = value.get(name);
            return history ? (
              <Trend
                key={name}
                signal={name}
                index={n}
                history={history}
                live={fleet.signals.value.get(name)}
                window={window}
                zone={zone}
              />
            ) : null;
          })}
      </div>
    </Card>
  );
}

function useTimeline(props: MachineViewProps, live: Machine | undefined, hours: number): Reading<Interval[]> {
  const { fleet, site, machine } = props;
  return useReading(
    (signal) => {
      const to = fleet.now.peek();
      return readTimeline(site, machine, to - hours * HOUR_MS, to, signal);
    },
    [site, machine, hours, live?.state, live?.since],
  );
}

function lastEvidence(intervals: readonly Interval[] | null, machine: Machine): string | null {
  const last = intervals?.at(-1);
  return last && last.state === machine.state ? last.evidence : null;
}

function States({ reading, live, hours, window, zone }: {
  readonly reading: Reading<Interval[]>;
  readonly live: Machine;
  readonly hours: number;
  readonly window: Span;
  readonly zone: string | undefined;
}) {
  const shown: Segment[] = useMemo(() => segments(reading.value ?? [], live, window), [reading.value, live, window]);
  const table = () => <TimelineTable segments={shown} window={window} zone={zone} />;
  return (
    <Card title={t("timeline.title")} controls={<RangeChoice hours={hours} />} table={table}>
      <Failure cause={reading.failure} />
      {reading.value === null && reading.failure === null ? (
        <p class="muted">{t("chart.loading")}</p>
      ) : (
        <Timeline segments={shown} window={window} zone={zone} />
      )}
    </Card>
  );
}

/** Whether the hub knows the machine; asked only while its stream stays silent. */
function useMissing(fleet: Fleet, site: string, machine: string): boolean {
  const missing = useSignal(false);
  const silent = fleet.keys.value.length === 0;
  useEffect(() => {
    if (!silent) return;
    const path = `/api/v1/machines/${encodeURIComponent(site)}/${encodeURIComponent(machine)}`;
    const timer = setTimeout(() => {
      fetch(path).then(
        (response) => (missing.value = response.status === 404),
        () => undefined,
      );
    }, 1_500);
    return () => clearTimeout(timer);
  }, [silent, site, machine]);
  return silent && missing.value;
}

function MachineTitle({ props, live }: { readonly props: MachineViewProps; readonly live: Machine | undefined }) {
  const site = props.sites.value.get(props.site);
  const parts = [
    site ? localName(site.name, props.site) : props.site,
    live?.kind ? term("kind", live.kind) : null,
    props.machine,
  ].filter((part) => part !== null);
  return (
    <>
      <h1>{live ? localName(live.name, props.machine) : props.machine}</h1>
      <p>
        <Link href="/wall" class="back">
          <Icon name="back" />
          {t("app.title")}
        </Link>
        {" · "}
        {parts.join(" · ")}
      </p>
    </>
  );
}

export function MachineView(props: MachineViewProps) {
  const { fleet, sites, site, machine } = props;
  const key = `${site}/${machine}`;
  const live = fleet.keys.value.includes(key) ? fleet.machine(key)?.value : undefined;
  const missing = useMissing(fleet, site, machine);
  const zone = sites.value.get(site)?.time_zone ?? undefined;
  const to = fleet.coarse.value;
  const started = useSignal<number | null>(null);
  const hours = useHours(started, to);
  const reading = useTimeline(props, live, hours);
  useEffect(() => {
    const first = reading.value?.[0]?.start;
    if (first !== undefined) started.value = Math.min(first, started.value ?? first);
  }, [reading.value]);
  const window = useMemo(() => ({ from: to - hours * HOUR_MS, to }), [to, hours]);
  useEffect(() => {
    const before = document.title;
    document.title = `${live ? localName(live.name, machine) : machine} · Machikoba`;
    return () => {
      document.title = before;
    };
  }, [live?.name, machine]);
  return (
    <>
      <Header fleet={fleet} zone={zone} title={<MachineTitle props={props} live={live} />} />
      <main class="machine" data-fresh={fleet.freshness.value} aria-busy={!live}>
        {!live && <p class="nothing">{missing ? t("machine.missing") : t("machine.loading")}</p>}
        {live && (
          <>
            <Banner machine={live} state={fleet.shown(key)} now={to} zone={zone} evidence={lastEvidence(reading.value, live)} />
            <States reading={reading} live={live} hours={hours} window={window} zone={zone} />
            <Trends fleet={fleet} site={site} machine={machine} hours={hours} window={window} zone={zone} />
            <LiveValues fleet={fleet} />
            <Links machine={live} fleet={fleet} zone={zone} />
          </>
        )}
      </main>
    </>
  );
}
