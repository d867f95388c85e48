// A wall screen that nobody touches: pages instead of scrolling, stays awake, hides the pointer.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

const PAGE_MS = 15_000;
const POINTER_MS = 3_000;
const SHIFT_MS = 600_000;
const SHIFT_PX = 2;

export interface Paging {
  readonly page: number;
  readonly pages: number;
  readonly paused: boolean;
}

/** Where each screenful begins, so that no tile is cut: always at the top of a row. */
export function pageStarts(rows: readonly { top: number; bottom: number }[], height: number): number[] {
  const starts: number[] = [];
  let start = rows[0]?.top ?? 0;
  for (const row of rows) {
    if (starts.length === 0) starts.push((start = row.top));
    else if (row.bottom - start > height) starts.push((start = row.top));
  }
  return starts.length > 0 ? starts : [0];
}

function headHeight(): number {
  return document.querySelector("header.top")?.getBoundingClientRect().height ?? 0;
}

/** Rows of tiles; the first row of a site begins at the site's heading. */
function measureRows(): { top: number; bottom: number }[] {
  const rows = new Map<number, { top: number; bottom: number }>();
  for (const section of document.querySelectorAll("main section")) {
    const heading = section.getBoundingClientRect().top + scrollY;
    let first: number | null = null;
    for (const tile of section.querySelectorAll(".tile")) {
      const box = tile.getBoundingClientRect();
      const place = Math.round(box.top + scrollY);
      first ??= place;
      rows.set(place, { top: place === first ? heading : place - 8, bottom: box.bottom + scrollY });
    }
  }
  return [...rows.values()];
}

function holdsDown(from: number, to: number): boolean {
  return [...document.querySelectorAll('.tile[data-state="down"]')].some((tile) => {
    const top = tile.getBoundingClientRect().top + scrollY;
    return top >= from && top < to;
  });
}

function keepAwake(): () => void {
  let lock: WakeLockSentinel | null = null;
  const ask = () => {
    // Only secure origins have it, and it may be refused; then the screen's own settings decide.
    if (!document.hidden) navigator.wakeLock?.request("screen").then((held) => (lock = held), () => undefined);
  };
  ask();
  document.addEventListener("visibilitychange", ask);
  return () => {
    document.removeEventListener("visibilitychange", ask);
    void lock?.release();
  };
}

function hidePointer(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const moved = () => {
    document.documentElement.removeAttribute("data-pointer");
    clearTimeout(timer);
    timer = setTimeout(() => document.documentElement.setAttribute("data-pointer", "none"), POINTER_MS);
  };
  moved();
  addEventListener("pointermove", moved);
  return () => {
    clearTimeout(timer);
    removeEventListener("pointermove", moved);
    document.documentElement.removeAttribute("data-pointer");
  };
}

/** Moves everything by a pixel or two every ten minutes, against burn-in. */
function shiftPixels(): () => void {
  let step = 0;
  const timer = setInterval(() => {
    step = (step + 1) % (SHIFT_PX + 1);
    document.documentElement.style.setProperty("--shift", `${step}px`);
  }, SHIFT_MS);
  return () => clearInterval(timer);
}

export function useKiosk(on: boolean): Paging | null {
  const paging = useSignal<Paging>({ page: 0, pages: 1, paused: false });
  useEffect(() => {
    if (!on) return;
    const stops = [keepAwake(), hidePointer(), shiftPixels()];
    let shownAt = performance.now();
    const turn = (by: number) => {
      const head = headHeight();
      const starts = pageStarts(measureRows(), innerHeight - head);
      const page = (paging.peek().page + by + starts.length) % starts.length;
      scrollTo({ top: page === 0 ? 0 : (starts[page] ?? 0) - head, behavior: "instant" });
      paging.value = { page, pages: starts.length, paused: paging.peek().paused };
      shownAt = performance.now();
    };
    const pass = () => {
      // A page with a machine down is shown twice as long.
      const dwell = PAGE_MS * (holdsDown(scrollY, scrollY + innerHeight) ? 2 : 1);
      if (!paging.peek().paused && performance.now() - shownAt >= dwell) turn(1);
      else paging.value = { ...paging.peek(), pages: pageStarts(measureRows(), innerHeight - headHeight()).length };
    };
    const key = (event: KeyboardEvent) => {
      if (event.key === " ") paging.value = { ...paging.peek(), paused: !paging.peek().paused };
      else if (event.key === "PageDown") turn(1);
      else if (event.key === "PageUp") turn(-1);
      else return;
      event.preventDefault();
    };
    const timer = setInterval(pass, 1_000);
    addEventListener("keydown", key);
    return () => {
      clearInterval(timer);
      removeEventListener("keydown", key);
      for (const stop of stops) stop();
    };
  }, [on]);
  return on ? paging.value : null;
}
