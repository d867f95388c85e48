// A titled surface; with a table it has a switch between the picture and the same data in rows.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { t } from "../i18n";

interface CardProps {
  readonly title: string;
  readonly class?: string;
  readonly controls?: ComponentChildren;
  readonly table?: () => ComponentChildren;
  readonly children: ComponentChildren;
}

export function Card({ title, controls, table, children, ...rest }: CardProps) {
  const [asTable, setAsTable] = useState(false);
  return (
    <section class={`card ${rest.class ?? ""}`} aria-label={title}>
      <div class="head">
        <h2>{title}</h2>
        {controls}
        {table && (
          <button type="button" class="small" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
            {t("chart.table")}
          </button>
        )}
      </div>
      {asTable && table ? (
        <div class="scroll" tabIndex={0} role="group" aria-label={title}>
          {table()}
        </div>
      ) : (
        children
      )}
    </section>
  );
}
