// What stands above every view: where we are, how live it is, how it is to look.
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { Icon } from "../design/icons";
import { clockTime, foreignZone } from "../format";
import { t, type Key } from "../i18n";
import { choose, density, kiosk, language, look, sort, theme } from "../options";
import type { Fleet } from "../stream/store";

/** From here on the lag is worth a word. */
const LAG_MS = 2_500;

function LiveText({ fleet }: { readonly fleet: Fleet }) {
  const lag = fleet.now.value - fleet.frameTime.value;
  const freshness = fleet.freshness.value;
  if (freshness === "connecting") return <>{t("live.connecting")}</>;
  const behind = freshness !== "live" || lag > LAG_MS;
  return <>{behind ? t("live.behind", { n: Math.max(0, Math.round(lag / 1000)) }) : t("live.live")}</>;
}

interface ClockProps {
  readonly fleet: Fleet;
  readonly zone: string | undefined;
}

function Clock({ fleet, zone }: ClockProps) {
  const foreign = foreignZone(fleet.coarse.value, zone);
  return (
    <div class="clock" data-fresh={fleet.freshness.value}>
      <time>
        {clockTime(fleet.now.value, zone, true)}
        {foreign && <span class="zone"> {foreign}</span>}
      </time>
      <span class="live">
        <LiveText fleet={fleet} />
      </span>
    </div>
  );
}

interface ChoiceProps {
  readonly name: "language" | "theme" | "sort" | "density" | "look";
  readonly parameter: string;
  readonly value: string;
  readonly among: readonly string[];
}

function Choice({ name, parameter, value, among }: ChoiceProps) {
  const group = useId();
  return (
    <fieldset>
      <legend>{t(`settings.${name}`)}</legend>
      {among.map((word) => (
        <label key={word}>
          <input
            type="radio"
            name={group}
            checked={word === value}
            onChange={() => choose(parameter, word)}
          />
          <span>{t(`settings.${name}.${word}` as Key)}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Settings() {
  return (
    <>
      <button type="button" class="round" popovertarget="settings" aria-label={t("settings.open")} title={t("settings.open")}>
        <Icon name="settings" />
      </button>
      <div id="settings" popover="auto" class="settings">
        <Choice name="language" parameter="lang" value={language.value} among={["ja", "en"]} />
        <Choice name="theme" parameter="theme" value={theme.value} among={["auto", "light", "dark"]} />
        <Choice name="sort" parameter="sort" value={sort.value} among={["fixed", "worst"]} />
        <Choice name="density" parameter="density" value={density.value} among={["normal", "compact"]} />
        <Choice name="look" parameter="look" value={look.value} among={["calm", "signal"]} />
      </div>
    </>
  );
}

/** Says in words, above everything, that what is shown is not current. */
function FreshnessBar({ fleet, zone }: ClockProps) {
  const freshness = fleet.freshness.value;
  if (freshness !== "late" && freshness !== "lost") return null;
  const time = clockTime(fleet.frameTime.value, zone, true);
  const seen = fleet.frameTime.value > 0;
  return (
    <p class="bar" data-fresh={freshness} role="status">
      {seen ? t(`live.${freshness}`, { time }) : t("live.never")}
    </p>
  );
}

interface HeaderProps {
  readonly fleet: Fleet;
  readonly title: ComponentChildren;
  /** Zone of all times in the view; without one the viewer's own. */
  readonly zone?: string | undefined;
  readonly children?: ComponentChildren;
}

export function Header({ fleet, title, zone, children }: HeaderProps) {
  return (
    <header class="top">
      <FreshnessBar fleet={fleet} zone={zone} />
      <div class="row">
        <div class="title">{title}</div>
        {children}
        <div class="end">
          <Clock fleet={fleet} zone={zone} />
          {!kiosk.value && <Settings />}
        </div>
      </div>
    </header>
  );
}
