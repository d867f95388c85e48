// Numbers, times and durations in the viewer's language.
import { t } from "./i18n";
import { language } from "./options";

const LOCALES = { en: "en-GB", ja: "ja-JP" } as const;
const MINUTE = 60_000;

/** Intl objects are costly to make and cheap to keep: one for each way of writing. */
const kept = new Map<string, Intl.DateTimeFormat>();

function dateFormat(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = language.value + JSON.stringify(options);
  let format = kept.get(key);
  if (!format) kept.set(key, (format = new Intl.DateTimeFormat(LOCALES[language.value], options)));
  return format;
}

const zoned = (timeZone: string | undefined): Intl.DateTimeFormatOptions => (timeZone ? { timeZone } : {});

/** "14:32", or with seconds "14:32:08". */
export function clockTime(ms: number, timeZone?: string, seconds = false): string {
  return dateFormat({
    hour: "2-digit",
    minute: "2-digit",
    ...(seconds && { second: "2-digit" }),
    hourCycle: "h23",
    ...zoned(timeZone),
  }).format(ms);
}

/** What to write beside a clock of another zone than the viewer's, as "GMT+9"; else nothing. */
export function foreignZone(ms: number, timeZone: string | undefined): string {
  const named = (zone: string | undefined) =>
    dateFormat({ timeZoneName: "shortOffset", ...zoned(zone) })
      .formatToParts(ms)
      .find((part) => part.type === "timeZoneName")?.value ?? "";
  const theirs = named(timeZone);
  return theirs === named(undefined) ? "" : theirs;
}

/** "23 Nov" or "11月23日". */
export function day(ms: number, timeZone?: string): string {
  return dateFormat({ month: "short", day: "numeric", ...zoned(timeZone) }).format(ms);
}

/** The time of day, with the day before it unless it is the day of `now`. */
export function dayTime(ms: number, now: number, timeZone?: string): string {
  const date = day(ms, timeZone);
  const time = clockTime(ms, timeZone);
  return date === day(now, timeZone) ? time : `${date} ${time}`;
}

export function duration(ms: number): string {
  const minutes = Math.max(0, Math.floor(ms / MINUTE));
  if (minutes < 1) return t("duration.under_minute");
  if (minutes < 60) return t("duration.minutes", { m: minutes });
  if (minutes < 24 * 60) {
    return t("duration.hours", { h: Math.floor(minutes / 60), m: String(minutes % 60).padStart(2, "0") });
  }
  return t("duration.days", { d: Math.floor(minutes / 1440), h: Math.floor((minutes % 1440) / 60) });
}

/** As `duration`, but counting seconds below one minute. */
export function age(ms: number): string {
  return ms < MINUTE ? t("duration.seconds", { s: Math.max(0, Math.floor(ms / 1000)) }) : duration(ms);
}

export function number(value: number): string {
  const size = Math.abs(value);
  const digits = Number.isInteger(value) ? 0 : size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;
  return new Intl.NumberFormat(LOCALES[language.value], { maximumFractionDigits: digits }).format(value);
}

export function percent(share: number): string {
  const digits = share > 0 && share < 0.1 ? 1 : 0;
  return new Intl.NumberFormat(LOCALES[language.value], { style: "percent", maximumFractionDigits: digits }).format(share);
}
