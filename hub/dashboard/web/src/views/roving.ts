// Moving between tiles with the arrow keys: the wall is one stop of the tab key, not five hundred.

function tilesIn(root: Element): HTMLElement[] {
  return [...root.querySelectorAll<HTMLElement>(".tile")];
}

/** The nearest tile in the next row above or below, by what is painted. */
function vertical(tiles: HTMLElement[], from: HTMLElement, down: boolean): HTMLElement | undefined {
  const here = from.getBoundingClientRect();
  const middle = here.left + here.width / 2;
  let best: HTMLElement | undefined;
  let bestCost = Number.POSITIVE_INFINITY;
  for (const tile of tiles) {
    const box = tile.getBoundingClientRect();
    const rows = down ? box.top - here.bottom : here.top - box.bottom;
    if (rows < -1) continue;
    const cost = rows * 1_000 + Math.abs(box.left + box.width / 2 - middle);
    if (cost < bestCost) [best, bestCost] = [tile, cost];
  }
  return best;
}

export function moveFocus(event: KeyboardEvent): void {
  const root = event.currentTarget as Element;
  const from = (event.target as Element).closest<HTMLElement>(".tile");
  if (!from) return;
  const tiles = tilesIn(root);
  const at = tiles.indexOf(from);
  const moves: Record<string, () => HTMLElement | undefined> = {
    ArrowRight: () => tiles[at + 1],
    ArrowLeft: () => tiles[at - 1],
    ArrowDown: () => vertical(tiles, from, true),
    ArrowUp: () => vertical(tiles, from, false),
    Home: () => tiles[0],
    End: () => tiles.at(-1),
  };
  const next = moves[event.key]?.();
  if (!next) return;
  event.preventDefault();
  next.focus();
}
