// What the viewer chose. Everything that changes what is seen stands in the address, so that a
// link or a wall screen's bookmark shows the same; taste (language, theme) is remembered as well.
import { computed, effect, signal } from "@preact/signals";
import { ABNORMAL, STATE_NAMES, type State, isState } from "./design/states";

export type Language = "en" | "ja";
export type Theme = "auto" | "light" | "dark";
export type Sort = "fixed" | "worst";
export type Density = "normal" | "compact";
export type Look = "calm" | "signal";

const PHONE = "(max-width: 480px)";

/** The path and query of the address bar; `go` and `put` are the only ones to change it. */
export const address = signal(new URL(location.href));
addEventListener("popstate", () => (address.value = new URL(location.href)));

function remembered(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // Storage may be forbidden; the address still works.
  }
}

function remember(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    // As above.
  }
}

/** Opens another page of ours; the back button returns. The view's own query parameters go. */
export function go(href: string): void {
  const next = new URL(href, location.href);
  for (const name of ["lang", "theme", "kiosk", "look", "sort", "density"]) {
    const value = address.value.searchParams.get(name);
    if (value !== null && !next.searchParams.has(name)) next.searchParams.set(name, value);
  }
  history.pushState(null, "", next);
  address.value = next;
  scrollTo(0, 0);
}

/** Changes one query parameter in place; null removes it. */
export function put(name: string, value: string | null): void {
  const next = new URL(address.value);
  if (value === null) next.searchParams.delete(name);
  else next.searchParams.set(name, value);
  history.replaceState(null, "", next);
  address.value = next;
}

function choice<T extends string>(name: string, allowed: readonly [T, ...T[]], fallback: () => T) {
  const known = (text: string | null): T | undefined => allowed.find((word) => word === text);
  return computed(() => known(address.value.searchParams.get(name)) ?? known(remembered(name)) ?? fallback());
}

export const language = choice<Language>("lang", ["en", "ja"], () =>
  navigator.language.startsWith("ja") ? "ja" : "en",
);
export const theme = choice<Theme>("theme", ["auto", "light", "dark"], () => "auto");
export const sort = choice<Sort>("sort", ["fixed", "worst"], () => "fixed");
export const density = choice<Density>("density", ["normal", "compact"], () => "normal");
export const look = choice<Look>("look", ["calm", "signal"], () => "calm");
export const kiosk = computed(() => address.value.searchParams.get("kiosk") === "1");
export const site = computed(() => address.value.searchParams.get("site"));

export function choose(name: string, value: string): void {
  remember(name, value);
  put(name, value);
}

const phone = matchMedia(PHONE);
const onPhone = signal(phone.matches);
phone.addEventListener("change", () => (onPhone.value = phone.matches));

/** The states shown; null is all. A phone begins with those that ask for something. */
export const filter = computed<ReadonlySet<State> | null>(() => {
  const given = address.value.searchParams.get("state");
  if (given === null) return onPhone.value && !kiosk.value ? new Set(ABNORMAL) : null;
  const states = given.split(",").filter(isState);
  return states.length > 0 ? new Set(states) : null;
});

/** True while the viewer has not chosen and the phone's default hides the calm machines. */
export const hidesCalm = computed(
  () => filter.value !== null && !address.value.searchParams.has("state"),
);

/** Adds a state to the filter or takes it away; an empty filter shows everything. */
export function toggleState(state: State): void {
  const chosen = new Set(hidesCalm.value ? [] : filter.value);
  if (!chosen.delete(state)) chosen.add(state);
  const inOrder = STATE_NAMES.filter((name) => chosen.has(name));
  put("state", inOrder.length > 0 ? inOrder.join(",") : "all");
}

export function showAll(): void {
  put("state", "all");
}

/** Keeps the root element in step, for the style sheet and for the choice of glyphs. */
export function reflectOptions(root: HTMLElement): void {
  effect(() => {
    root.lang = language.value;
    root.dataset["theme"] = theme.value;
    root.dataset["look"] = look.value;
    root.dataset["density"] = density.value;
    root.toggleAttribute("data-kiosk", kiosk.value);
  });
}
