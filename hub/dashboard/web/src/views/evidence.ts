// An agent writes its evidence in one plain English, as numbers and conditions; here its few fixed
// words are put into the viewer's language. Whatever is not known to be one of them stays as it is.
import { number } from "../format";
import { t, term } from "../i18n";

type Rewriting = readonly [pattern: RegExp, written: (...found: string[]) => string];

const REWRITINGS: readonly Rewriting[] = [
  [/-?\d+\.\d{3,}/g, (long = "") => number(Number(long))],
  [/, not yet for ([\d.]+) s$/, (_, s = "") => t("evidence.not_yet", { s })],
  [/ for ([\d.]+) s$/, (_, s = "") => t("evidence.for", { s })],
  [/^no condition holds: /, () => t("evidence.none_holds")],
  [/^no condition is asked$/, () => t("evidence.unasked")],
  [/ was never read(?=,|$)/g, () => t("evidence.never_read")],
  [
    / has no value \(([a-z ]+)\)/g,
    (_, reason = "") => t("evidence.no_value", { reason: term("reason", reason.replaceAll(" ", "_")) }),
  ],
  [/(?<=[\w`]) true\b/g, () => t("evidence.is", { value: t("value.true") })],
  [/(?<=[\w`]) false\b/g, () => t("evidence.is", { value: t("value.false") })],
];

export function readableEvidence(text: string): string {
  return REWRITINGS.reduce((said, [pattern, written]) => said.replace(pattern, written), text);
}
