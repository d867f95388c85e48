// The colours of the tokens for what is drawn on a canvas, where style sheets do not reach.
import { computed, signal } from "@preact/signals";
import rawStates from "../../../design/states.json";
import tokens from "../../../design/tokens.json";
import { look, theme } from "../options";
import type { State } from "./states";

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(prefersDark.matches);
prefersDark.addEventListener("change", () => (systemDark.value = prefersDark.matches));

export const mode = computed<"light" | "dark">(() =>
  theme.value === "auto" ? (systemDark.value ? "dark" : "light") : theme.value,
);

export const palette = computed(() => tokens[mode.value]);

export function fillOf(state: State): string {
  if (state === "running" && look.value === "signal") return rawStates.running.signal[mode.value].fill;
  return rawStates[state][mode.value].fill;
}
