// A wall screen that nobody touches: pages instead of scrolling, stays awake, hides the pointer.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

const PAGE_MS = 15_000;
const POINTER_MS = 3_000;
const SHIFT_MS = 600_000;
const SHIFT_PX = 2;
const GAP_PX = 8;

export interface Paging {
  readonly page: number;
  readonly pages: number;
  readonly paused: boolean;
  /** Height at the bottom of the screen that belongs to the next page. */
  readonly cut: number;
}

interface Row {
  readonly top: number;
  readonly bottom: number;
}

/** Groups rows into screenfuls of at most this height; a row that is higher has one of its own. */
export function screenfuls(rows: readonly Row[], height: number): Row[] {
  const pages: Row[] = [];
  for (const row of rows) {
    const page = pages.at(-1);
    if (page && row.bottom - page.top <= height) pages[pages.length - 1] = { top: page.top, bottom: row.bottom };
    else pages.push(row);
  }
  return pages;
}

function headHeight(): number {
  return document.querySelector("header.top")?.getBoundingClientRect().height ?? 0;
}

/** Rows of tiles; the first row of a site begins at the site's heading. */
function measureRows(): Row[] {
  const rows = new Map<number, Row>();
  for (const section of document.querySelectorAll("main section")) {
    const heading = section.getBoundingClientRect().top + scrollY;
    let first: number | null = null;
    for (const tile of section.querySelectorAll(".tile")) {
      const box = tile.getBoundingClientRect();
      const place = Math.round(box.top + scrollY);
      first ??= place;
      rows.set(place, { top: place === first ? heading : place - GAP_PX, bottom: box.bottom + scrollY });
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

/** Shows a screenful, and covers what of the next one would be seen below it. */
function show(turned: number, before: Paging): Paging {
  const head = headHeight();
  const pages = screenfuls(measureRows(), innerHeight - head);
  const page = pages.length > 0 ? (turned + pages.length) % pages.length : 0;
  const shown = pages[page];
  const top = page === 0 || !shown ? 0 : shown.top - head;
  scrollTo({ top, behavior: "instant" });
  const cut = shown && page < pages.length - 1 ? Math.max(0, innerHeight - (shown.bottom - scrollY) - 1) : 0;
  return { ...before, page, pages: pages.length, cut };
}

export function useKiosk(on: boolean): Paging | null {
  const paging = useSignal<Paging>({ page: 0, pages: 1, paused: false, cut: 0 });
  useEffect(() => {
    if (!on) return;
    const stops = [keepAwake(), hidePointer(), shiftPixels()];
    let shownAt = performance.now();
    const turn = (by: number) => {
      paging.value = show(paging.peek().page + by, paging.peek());
      if (by !== 0) shownAt = performance.now();
    };
    const pass = () => {
      // A page with a machine down is shown twice as long.
      const dwell = PAGE_MS * (holdsDown(scrollY, scrollY + innerHeight) ? 2 : 1);
      const due = !paging.peek().paused && performance.now() - shownAt >= dwell;
      turn(due ? 1 : 0);
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
