// Two catalogues with the same keys (a missing one does not compile); only the one shown is loaded.
import { signal } from "@preact/signals";
import type en from "../../design/en.json";
import type ja from "../../design/ja.json";
import { type State, STATES } from "./design/states";
import { type Language, language } from "./options";
import type { Name } from "./stream/protocol";

export type Key = keyof typeof en;
type Words = Record<string, string | number>;

type Catalogue = Readonly<Record<Key, string>>;

const CATALOGUES: Record<Language, () => Promise<{ default: Catalogue & Record<keyof typeof ja, string> }>> = {
  en: () => import("../../design/en.json"),
  ja: () => import("../../design/ja.json"),
};

const catalogue = signal<Catalogue | null>(null);

/** Loads the words of the language in use; until then, and if it fails, the former ones stay. */
export async function loadWords(): Promise<void> {
  const wanted = language.value;
  const words = await CATALOGUES[wanted]();
  if (wanted === language.peek()) catalogue.value = words.default;
}

function isKey(key: string): key is Key {
  return catalogue.value !== null && Object.hasOwn(catalogue.value, key);
}

export function t(key: Key, words: Words = {}): string {
  const text = catalogue.value?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(words[name] ?? whole));
}

/** The catalogue's word for an open-ended term, or the term itself when it has none. */
export function term(family: "kind" | "reason", word: string): string {
  const key = `${family}.${word.trim().toLowerCase().replaceAll(" ", "-")}`;
  return isKey(key) ? t(key) : spelled(word);
}

/** "spindle-overload" as people write it, "Spindle overload"; texts and alarm numbers stay as they are. */
function spelled(word: string): string {
  if (!/^[a-z]+(?:[-_][a-z0-9]+)+$/.test(word)) return word;
  const words = word.replace(/[-_]/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function plural(key: "wall.machines" | "wall.hidden", n: number): string {
  const form = new Intl.PluralRules(language.value).select(n) === "one" ? "one" : "other";
  return t(`${key}.${form}`, { n });
}

export function stateWord(state: State): string {
  return STATES[state].word[language.value];
}

export function localName(name: Name, fallback: string): string {
  return name[language.value] ?? name.en ?? name.ja ?? fallback;
}
