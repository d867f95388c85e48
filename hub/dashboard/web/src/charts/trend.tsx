// One signal over time: the mean as a line, minimum to maximum as a band, gaps left open.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { History } from "../api";
import { mode, palette } from "../design/palette";
import { clockTime, dayTime, number } from "../format";
import { t } from "../i18n";
import { language } from "../options";
import type { SignalValue } from "../stream/protocol";
import type { Span } from "./intervals";
import { useWidth } from "./width";

const HEIGHT = 148;
/** The axis is as wide on every chart, so that the charts stand under each other. */
const AXIS_PX = 56;
const SYNC = "machine";
/** More live points than this are not kept beside the history; the next reading brings them. */
const TAIL_MAX = 600;

interface Points {
  readonly time: number[];
  readonly max: (number | null)[];
  readonly min: (number | null)[];
  readonly mean: (number | null)[];
}

/** The recorded points with the live ones that are newer. */
export function joined(history: History, tail: readonly SignalValue[]): Points {
  const last = history.time.at(-1) ?? Number.NEGATIVE_INFINITY;
  const newer = tail.filter((each) => each.time !== null && each.time > last);
  const values = newer.map((each) => (each.quality !== "bad" && typeof each.value === "number" ? each.value : null));
  return {
    time: [...history.time, ...newer.map((each) => each.time ?? 0)],
    max: [...history.max, ...values],
    min: [...history.min, ...values],
    mean: [...history.mean, ...values],
  };
}

function options(width: number, index: number, window: () => Span, zone: string | undefined, pointed: (at: number | null) => void): uPlot.Options {
  const { series, muted, line } = palette.value;
  const colour = series[index % series.length] ?? muted;
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis: uPlot.Axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [8, 22, 0, 0],
    cursor: { sync: { key: SYNC }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { range: () => [window().from / 1000, window().to / 1000] } },
    ...(zone && { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1000), zone) }),
    axes: [
      { ...axis, size: 28, space: 72, values: (_, splits) => splits.map((seconds) => clockTime(seconds * 1000, zone)) },
      { ...axis, size: AXIS_PX, space: 28, values: (_, splits) => splits.map(number) },
    ],
    series: [
      {},
      { stroke: "transparent", width: 0, points: { show: false } },
      { stroke: "transparent", width: 0, points: { show: false } },
      { stroke: colour, width: 1.5 },
    ],
    bands: [{ series: [1, 2], fill: `${colour}2E` }],
    hooks: { setCursor: [(plot) => pointed(plot.cursor.idx ?? null)] },
  };
}

interface TrendProps {
  readonly signal: string;
  readonly index: number;
  readonly history: History;
  readonly live: SignalValue | undefined;
  readonly window: Span;
  readonly zone: string | undefined;
}

function useTail(live: SignalValue | undefined, history: History): readonly SignalValue[] {
  const tail = useRef<SignalValue[]>([]);
  useEffect(() => {
    const last = history.time.at(-1) ?? 0;
    tail.current = tail.current.filter((each) => (each.time ?? 0) > last);
  }, [history]);
  if (live?.time && live.time > (tail.current.at(-1)?.time ?? 0)) {
    tail.current = [...tail.current.slice(-TAIL_MAX), live];
  }
  return tail.current;
}

export function Trend({ signal, index, history, live, window, zone }: TrendProps) {
  const [box, width] = useWidth();
  const plot = useRef<uPlot | null>(null);
  const current = useRef(window);
  const [at, setAt] = useState<number | null>(null);
  const tail = useTail(live, history);
  const points = useMemo(() => joined(history, tail), [history, tail]);
  const data: uPlot.AlignedData = useMemo(
    () => [points.time.map((time) => time / 1000), points.max, points.min, points.mean],
    [points],
  );
  useEffect(() => {
    if (!box.current || width === 0) return;
    const made = new uPlot(options(width, index, () => current.current, zone, setAt), data, box.current);
    plot.current = made;
    return () => {
      plot.current = null;
      made.destroy();
    };
  }, [width > 0, index, zone, mode.value, language.value]);
  useEffect(() => plot.current?.setSize({ width, height: HEIGHT }), [width]);
  useEffect(() => {
    current.current = window;
    plot.current?.setData(data);
  }, [data, window]);
  const shown = at ?? points.time.length - 1;
  const time = points.time[shown];
  const value = points.mean[shown];
  return (
    <figure class="trend" aria-label={t("trend.label", { signal })}>
      <figcaption>
        <span class="swatch" data-series={index % 4} />
        <b>{signal}</b>
        {time === undefined ? (
          <span class="muted">{t("trend.no_points")}</span>
        ) : (
          <>
            <span class="reading">{value === null || value === undefined ? t("trend.gap") : `${number(value)} ${history.unit ?? ""}`}</span>
            <span class="muted">{dayTime(time, window.to, zone)}</span>
          </>
        )}
      </figcaption>
      <div ref={box} class="plot" aria-hidden="true" />
    </figure>
  );
}

interface TrendTableProps {
  readonly names: readonly string[];
  readonly histories: ReadonlyMap<string, History>;
  readonly window: Span;
  readonly zone: string | undefined;
}

export function TrendTable({ names, histories, window, zone }: TrendTableProps) {
  const cell = (value: number | null | undefined) => (value === null || value === undefined ? "—" : number(value));
  return (
    <>
      {names.map((name) => {
        const history = histories.get(name);
        if (!history) return null;
        return (
          <table key={name}>
            <caption>
              {name} {history.unit && `(${history.unit})`}
            </caption>
            <thead>
              <tr>
                <th scope="col">{t("table.time")}</th>
                {(["mean", "min", "max"] as const).map((column) => (
                  <th key={column} scope="col" class="figure">
                    {t(`table.${column}`)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {history.time.map((time, n) => (
                <tr key={time}>
                  <th scope="row">{dayTime(time, window.to, zone)}</th>
                  <td class="figure">{cell(history.mean[n])}</td>
                  <td class="figure">{cell(history.min[n])}</td>
                  <td class="figure">{cell(history.max[n])}</td>
                </tr>
              ))}
            </tbody>
          </table>
        );
      })}
    </>
  );
}
