// Builds the page into ../static. The output needs no network, no inline script and no eval.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { type Plugin, defineConfig } from "vite";

const web = dirname(fileURLToPath(import.meta.url));
const design = join(web, "..", "design");

type Palette = Record<string, string | string[]>;
type StateStyle = Record<"light" | "dark", Record<string, string>> & {
  signal?: Record<"light" | "dark", Record<string, string>>;
};

function readDesign<T>(name: string): T {
  return JSON.parse(readFileSync(join(design, name), "utf8")) as T;
}

function declarations(theme: "light" | "dark"): string {
  const palette = readDesign<Record<string, Palette>>("tokens.json")[theme] ?? {};
  return Object.entries(palette)
    .flatMap(([name, value]): [string, string][] =>
      typeof value === "string"
        ? [[name, value]]
        : value.map((colour, n): [string, string] => [`${name}-${n + 1}`, colour]),
    )
    .map(([name, colour]) => `--${name}:${colour};`)
    .join("");
}

function stateRules(theme: "light" | "dark", prefix: string): string {
  const states = readDesign<Record<string, StateStyle>>("states.json");
  const rule = (selector: string, style: Record<string, string>) =>
    `${prefix}${selector}{--tile:${style["tile"]};--ink:${style["text"]};--edge:${style["edge"]};--fill:${style["fill"]}}`;
  return Object.entries(states)
    .map(([name, style]) => {
      const plain = rule(` [data-state=${name}]`, style[theme]);
      return style.signal
        ? plain + rule(`[data-look=signal] [data-state=${name}]`, style.signal[theme])
        : plain;
    })
    .join("");
}

/** The tokens as custom properties: light by default, dark when the system or the user says so. */
function tokensCss(): string {
  const block = (prefix: string, theme: "light" | "dark") =>
    `${prefix}{color-scheme:${theme};${declarations(theme)}}${stateRules(theme, prefix)}`;
  return [
    block(":root", "light"),
    `@media (prefers-color-scheme:dark){${block(":root:not([data-theme=light])", "dark")}}`,
    block(":root[data-theme=dark]", "dark"),
    `@media print{${block(":root:root:root", "light")}}`,
  ].join("\n");
}

function designTokens(): Plugin {
  const id = "\0tokens.css";
  return {
    name: "design-tokens",
    resolveId: (source) => (source === "virtual:tokens.css" ? id : null),
    load(source) {
      if (source !== id) return null;
      for (const name of ["tokens.json", "states.json"]) this.addWatchFile(join(design, name));
      return tokensCss();
    },
  };
}

/** Stamps the page with a name for its exact content, so that a wall screen can tell a new one. */
function buildStamp(): Plugin {
  return {
    name: "build-stamp",
    transformIndexHtml: {
      order: "post",
      handler(html, { bundle }) {
        if (!bundle) return html;
        const names = Object.keys(bundle).filter((name) => name.startsWith("assets/"));
        const build = createHash("sha256").update(names.sort().join("\n")).digest("hex");
        return html.replace(
          '<meta charset="utf-8" />',
          `<meta charset="utf-8" />\n    <meta name="build" content="${build.slice(0, 12)}" />`,
        );
      },
    },
  };
}

function packageFolder(module: string): string | null {
  const match = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(module.replaceAll("\\", "/"));
  return match?.[1] ?? null;
}

function notice(folder: string): string {
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Record<string, string>;
  const licence = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
  const text = licence ? readFileSync(join(folder, licence), "utf8").trim() : "";
  return `${about["name"]} ${about["version"]} (${about["license"]})\n\n${text}\n`;
}

/** Writes down whose code ends up in the bundle, with the licence of each. */
function thirdPartyNotices(): Plugin {
  const folders = new Set<string>();
  return {
    name: "third-party-notices",
    moduleParsed({ id }) {
      const folder = packageFolder(id);
      if (folder && existsSync(join(folder, "package.json"))) folders.add(folder);
    },
    generateBundle() {
      const inOrder = [...folders].sort((a, b) => relative(web, a).localeCompare(relative(web, b)));
      this.emitFile({
        type: "asset",
        fileName: "third-party-notices.txt",
        source: inOrder.map(notice).join(`\n${"-".repeat(78)}\n\n`),
      });
    },
  };
}

export default defineConfig({
  root: web,
  plugins: [designTokens(), buildStamp(), thirdPartyNotices()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: join(web, "..", "static"),
    emptyOutDir: true,
    target: "es2022",
    // Inlined assets would be data: URLs, which the content security policy refuses for scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 150,
  },
  worker: { format: "es" },
  server: { proxy: { "/api": process.env["MACHIKOBA_HUB"] ?? "http://127.0.0.1:8080" } },
});
