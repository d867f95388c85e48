import { effect, signal } from "@preact/signals";
import { type ComponentType, render } from "preact";
import "virtual:tokens.css";
import "./design/page.css";
import { type Site, readSites } from "./api";
import { loadWords, t } from "./i18n";
import { address, go, kiosk, language, reflectOptions, site } from "./options";
import { StreamClient } from "./stream/client";
import { Fleet } from "./stream/store";
import type { MachineViewProps } from "./views/machine";
import { Wall } from "./views/wall";

const SITES_AGAIN_MS = 30_000;
/** Wall screens reload for a new build within this time, so that they do not come all at once. */
const RELOAD_SPREAD_MS = 30_000;

type Route =
  | { readonly view: "wall" }
  | { readonly view: "machine"; readonly site: string; readonly machine: string }
  | { readonly view: "missing" };

function route(path: string): Route {
  if (path === "/" || path === "/wall") return { view: "wall" };
  const match = /^\/m\/([^/]+)\/([^/]+)$/.exec(path);
  if (!match) return { view: "missing" };
  return { view: "machine", site: decodeURIComponent(match[1] ?? ""), machine: decodeURIComponent(match[2] ?? "") };
}

function scopeOf(here: Route): string | null {
  if (here.view === "machine") return `machine:${here.site}/${here.machine}`;
  if (here.view === "wall") return site.value ? `site:${site.value}` : "region";
  return null;
}

const fleet = new Fleet();
const sites = signal<ReadonlyMap<string, Site>>(new Map());
const stream = new StreamClient((update) => fleet.receive(update));
const machineView = signal<ComponentType<MachineViewProps> | null>(null);

/** Names are worth having and the page works without: a failure waits for the next try. */
function refreshSites(): void {
  readSites().then(
    (items) => (sites.value = new Map(items.map((each) => [each.site, each]))),
    () => undefined,
  );
}

function watchSites(): void {
  refreshSites();
  setInterval(refreshSites, SITES_AGAIN_MS);
}

function watchScope(): void {
  let followed: string | null = null;
  effect(() => {
    const scope = scopeOf(route(address.value.pathname));
    if (scope === null || scope === followed) return;
    if (followed !== null) fleet.reset();
    followed = scope;
    stream.follow(scope);
  });
}

function watchBuild(): void {
  const ours = document.querySelector<HTMLMetaElement>('meta[name="build"]')?.content;
  effect(() => {
    const theirs = fleet.build.value;
    if (!kiosk.value || !ours || !theirs || theirs === ours) return;
    // Once per build: a proxy that still gives the old page must not make this screen reload for ever.
    if (sessionStorage.getItem("reloaded-for") === theirs) return;
    sessionStorage.setItem("reloaded-for", theirs);
    setTimeout(() => location.reload(), Math.random() * RELOAD_SPREAD_MS);
  });
}

function Missing() {
  return (
    <main class="missing">
      <h1>{t("error.title")}</h1>
      <a
        href="/wall"
        onClick={(event) => {
          event.preventDefault();
          go("/wall");
        }}
      >
        {t("error.back")}
      </a>
    </main>
  );
}

function Page() {
  const here = route(address.value.pathname);
  if (here.view === "wall") return <Wall fleet={fleet} sites={sites} />;
  if (here.view === "missing") return <Missing />;
  const View = machineView.value;
  if (!View) {
    void import("./views/machine").then((module) => (machineView.value = module.MachineView));
    return <main aria-busy="true" />;
  }
  const key = `${here.site}/${here.machine}`;
  return <View key={key} fleet={fleet} sites={sites} site={here.site} machine={here.machine} />;
}

reflectOptions(document.documentElement);
watchSites();
watchScope();
watchBuild();
const root = document.getElementById("page");
void loadWords().then(() => {
  if (root) render(<Page />, root);
  effect(() => {
    language.value;
    void loadWords();
  });
});
