// The nine words for what a machine does, with everything that shows them.
import raw from "../../../design/states.json";

export type State = keyof typeof raw;
export type Shape = "tall" | "full" | "half" | "thin" | "hollow" | "hatch";

export interface StateStyle {
  readonly word: { readonly en: string; readonly ja: string };
  /** Place in "worst first": 0 is the worst. */
  readonly rank: number;
  /** Nothing to do about it: shown without colour, hidden on phones by default. */
  readonly calm: boolean;
  readonly shape: Shape;
  readonly icon: { readonly fill: string; readonly stroke: string };
}

export const STATES = raw as unknown as Record<State, StateStyle>;
export const STATE_NAMES = Object.keys(raw) as State[];
export const ABNORMAL = STATE_NAMES.filter((name) => !STATES[name].calm);

export function isState(word: string): word is State {
  return Object.hasOwn(raw, word);
}
