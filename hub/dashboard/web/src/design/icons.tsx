import { type State, STATES } from "./states";

interface Drawing {
  readonly fill: string;
  readonly stroke: string;
}

/** Icons of the page itself; those of the states live in states.json. */
const DRAWINGS = {
  settings: {
    fill: "M8 6.5a2.5 2.5 0 1 0 5 0 2.5 2.5 0 1 0-5 0ZM13 17.5a2.5 2.5 0 1 0 5 0 2.5 2.5 0 1 0-5 0Z",
    stroke: "M3 6.5h18M3 17.5h18",
  },
  back: { fill: "", stroke: "M14.5 5l-7 7 7 7" },
  check: { fill: "", stroke: "M4.5 12.5l5 5 10-11" },
  clock: { fill: "", stroke: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM12 7v5.3l3.4 2" },
  cross: { fill: "", stroke: "M5.5 5.5l13 13M18.5 5.5l-13 13" },
  question: { fill: "M12 17.5a1.4 1.4 0 1 0 0 2.8 1.4 1.4 0 0 0 0-2.8Z", stroke: "M8 8.5c0-5 8-5 8-.5 0 3-4 3-4 6.5" },
  wave: { fill: "", stroke: "M3 12c3-7 6-7 9 0s6 7 9 0" },
} satisfies Record<string, Drawing>;

export type IconName = keyof typeof DRAWINGS;

function Svg({ drawing }: { readonly drawing: Drawing }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      {drawing.fill && <path class="solid" d={drawing.fill} />}
      {drawing.stroke && <path class="drawn" d={drawing.stroke} />}
    </svg>
  );
}

export function Icon({ name }: { readonly name: IconName }) {
  return <Svg drawing={DRAWINGS[name]} />;
}

export function StateIcon({ state }: { readonly state: State }) {
  return <Svg drawing={STATES[state].icon} />;
}
