// A small fleet on a large screen: tiles grow until they fill it. Depends on the number of machines
// and on the screen only, never on states or filters, so that every machine keeps its place.
import { type ReadonlySignal, signal, useComputed } from "@preact/signals";
import { density, kiosk } from "../options";
import type { Fleet } from "../stream/store";

/** A tile at its smallest, in units of the text's size. */
const TILE = { width: 13, height: 6.5 } as const;
const GAP = 0.5;
/** Of the wall: its sides, its foot, the page's header; of a site: what is above and below its name. */
const FRAME = { sides: 3.5, foot: 2.5, header: 4.3, heading: 1.75 } as const;
const GROWTH_MAX = 2;
const STEP = 0.05;
/** Narrower screens scroll. */
const WIDTH_MIN_PX = 1_000;

export interface Fit {
  /** How much larger than its smallest a tile is. */
  readonly growth: number;
  readonly columns: number;
}

interface Screen {
  readonly width: number;
  readonly height: number;
  /** Size of the text, in pixels as well. */
  readonly rem: number;
}

function heightOf(sites: readonly number[], growth: number, columns: number): number {
  const heading = FRAME.heading + 1.5 * (0.5 + 0.5 * growth);
  const tiles = (n: number) => Math.ceil(n / columns) * (TILE.height * growth + GAP);
  return sites.reduce((sum, n) => sum + heading + tiles(n), 0);
}

/** The largest tiles with which sites of so many machines fit on one screen; null when none do. */
export function fit(sites: readonly number[], { width, height, rem }: Screen): Fit | null {
  const most = Math.max(0, ...sites);
  if (most === 0 || width < WIDTH_MIN_PX) return null;
  const room = { width: width / rem - FRAME.sides, height: height / rem - FRAME.header - FRAME.foot };
  for (let growth = GROWTH_MAX; growth >= 1; growth = Math.round((growth - STEP) * 100) / 100) {
    const columns = Math.min(most, Math.floor((room.width + GAP) / (TILE.width * growth + GAP)));
    if (columns > 0 && heightOf(sites, growth, columns) <= room.height) return { growth, columns };
  }
  return null;
}

function readScreen(): Screen {
  const root = document.documentElement;
  const rem = Number.parseFloat(getComputedStyle(root).fontSize) || 16;
  return { width: root.clientWidth, height: innerHeight, rem };
}

const resized = signal(0);
addEventListener("resize", () => (resized.value += 1));

export function useFit(fleet: Fleet): ReadonlySignal<Fit | null> {
  return useComputed(() => {
    resized.value;
    kiosk.value; // It has larger text.
    if (density.value === "compact") return null;
    const sites = new Map<string, number>();
    for (const key of fleet.keys.value) {
      const site = key.slice(0, key.indexOf("/"));
      sites.set(site, (sites.get(site) ?? 0) + 1);
    }
    return fit([...sites.values()], readScreen());
  });
}
