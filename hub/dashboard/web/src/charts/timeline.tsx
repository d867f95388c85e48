// States over time on one canvas: one path per colour, and a shape for each so that print works.
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { StateIcon } from "../design/icons";
import { fillOf, palette } from "../design/palette";
import { STATES, type State } from "../design/states";
import { clockTime, day, dayTime, duration, percent } from "../format";
import { stateWord, t, term } from "../i18n";
import { type Segment, type Span, segmentAt, shares, ticks } from "./intervals";
import { useWidth } from "./width";

const HEIGHT = 44;
const FULL = 34;
const HEIGHTS = { tall: FULL + 4, full: FULL, half: FULL / 2, thin: 6, hollow: FULL, hatch: FULL } as const;
/** Thinner than this is not painted, except what must be seen. */
const HAIRLINE_PX = 0.5;
/** Room that the label of a tick needs. */
const LABEL_PX = 48;

function hatch(context: CanvasRenderingContext2D, colour: string): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  if (!pen) return colour;
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.beginPath();
  for (const x of [-4, 4, 12]) {
    pen.moveTo(x, 8);
    pen.lineTo(x + 8, 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat") ?? colour;
}

function paintState(context: CanvasRenderingContext2D, state: State, rows: readonly Segment[], x: (time: number) => number) {
  const { shape } = STATES[state];
  const height = HEIGHTS[shape];
  const inset = shape === "hollow" ? 0.5 : 0;
  context.beginPath();
  for (const { from, to } of rows) {
    const left = x(from);
    const width = x(to) - left;
    if (width < HAIRLINE_PX && shape !== "tall") continue;
    context.rect(left + inset, HEIGHT - 1 - height + inset, Math.max(width - 2 * inset, 1), height - inset);
  }
  const colour = fillOf(state);
  if (shape === "hollow") {
    context.strokeStyle = colour;
    context.stroke();
    return;
  }
  context.fillStyle = shape === "hatch" ? hatch(context, colour) : colour;
  context.fill();
}

function paint(canvas: HTMLCanvasElement, width: number, all: readonly Segment[], window: Span): void {
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = HEIGHT * scale;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.scale(scale, scale);
  const x = (time: number) => ((time - window.from) / (window.to - window.from)) * width;
  for (const state of Object.keys(STATES) as State[]) {
    paintState(context, state, all.filter((each) => each.state === state), x);
  }
  context.fillStyle = palette.value.control;
  context.fillRect(0, HEIGHT - 1, width, 1);
}

function sentence(segment: Segment, zone: string | undefined, now: number): string {
  const words = t("timeline.segment", {
    state: stateWord(segment.state),
    from: dayTime(segment.from, now, zone),
    to: segment.open ? t("timeline.now") : dayTime(segment.to, now, zone),
    duration: duration(segment.to - segment.from),
  });
  return segment.reason ? `${words} · ${term("reason", segment.reason)}` : words;
}

/** Ticks with the day where a new one begins. */
function tickLabel(time: number, zone: string | undefined): string {
  const clock = clockTime(time, zone);
  return clock === "00:00" ? day(time, zone) : clock;
}

interface TimelineProps {
  readonly segments: readonly Segment[];
  readonly window: Span;
  readonly zone: string | undefined;
}

export function Timeline({ segments: all, window, zone }: TimelineProps) {
  const [box, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const chosen = useSignal<number | null>(null);
  const at = Math.min(chosen.value ?? all.length - 1, all.length - 1);
  const segment = all[at];
  const look = JSON.stringify([palette.value.control, fillOf("running")]);
  useLayoutEffect(() => {
    if (canvas.current && width > 0) paint(canvas.current, width, all, window);
  }, [all, window, width, look]);
  const share = (time: number) => (time - window.from) / (window.to - window.from);
  const place = (time: number) => `${share(time) * 100}%`;
  const marks = useMemo(
    () => ticks(window, Math.max(2, Math.floor(width / 72)), zone).filter((time) => share(time) * width < width - LABEL_PX),
    [window, width, zone],
  );
  const point = (event: PointerEvent) => {
    const area = (event.currentTarget as Element).getBoundingClientRect();
    const time = window.from + ((event.clientX - area.left) / area.width) * (window.to - window.from);
    chosen.value = Math.max(0, segmentAt(all, time));
  };
  const step = (event: KeyboardEvent) => {
    const moves: Record<string, number> = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 };
    const next = moves[event.key];
    if (next === undefined) return;
    event.preventDefault();
    chosen.value = Math.max(0, Math.min(all.length - 1, next));
  };
  return (
    <div class="timeline">
      <div
        ref={box}
        class="lane"
        tabIndex={0}
        role="slider"
        aria-label={t("timeline.label")}
        aria-valuemin={0}
        aria-valuemax={Math.max(0, all.length - 1)}
        aria-valuenow={Math.max(0, at)}
        aria-valuetext={segment ? sentence(segment, zone, window.to) : t("timeline.empty")}
        onPointerMove={point}
        onPointerLeave={() => (chosen.value = null)}
        onKeyDown={step}
      >
        <canvas ref={canvas} height={HEIGHT} />
        {segment && chosen.value !== null && (
          <div class="pick" style={{ left: place(segment.from), width: `calc(${place(segment.to)} - ${place(segment.from)})` }} />
        )}
      </div>
      <div class="ticks" aria-hidden="true">
        {marks.map((time) => (
          <span key={time} style={{ left: place(time) }}>
            {tickLabel(time, zone)}
          </span>
        ))}
      </div>
      <p class="pointed">{segment ? sentence(segment, zone, window.to) : t("timeline.empty")}</p>
      <ul class="shares">
        {shares(all).map(({ state, ms }) => (
          <li key={state} data-state={state}>
            <span class="swatch" data-shape={STATES[state].shape} />
            <StateIcon state={state} />
            {stateWord(state)} <b>{duration(ms)}</b>
            <span class="muted">{percent(ms / (window.to - window.from))}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

export function TimelineTable({ segments: all, window, zone }: TimelineProps) {
  return (
    <table>
      <caption class="unseen">
        {t("table.caption", {
          title: t("timeline.title"),
          from: dayTime(window.from, window.to, zone),
          to: dayTime(window.to, window.to, zone),
        })}
      </caption>
      <thead>
        <tr>
          <th scope="col">{t("table.state")}</th>
          <th scope="col">{t("table.from")}</th>
          <th scope="col">{t("table.to")}</th>
          <th scope="col" class="figure">{t("table.duration")}</th>
          <th scope="col">{t("table.reason")}</th>
        </tr>
      </thead>
      <tbody>
        {all.toReversed().map((segment) => (
          <tr key={segment.from}>
            <th scope="row" class="state" data-state={segment.state}>
              <StateIcon state={segment.state} />
              {stateWord(segment.state)}
            </th>
            <td>{dayTime(segment.from, window.to, zone)}</td>
            <td>{segment.open ? t("timeline.now") : dayTime(segment.to, window.to, zone)}</td>
            <td class="figure">{duration(segment.to - segment.from)}</td>
            <td>{segment.reason ? term("reason", segment.reason) : ""}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
