import type { ComponentChildren } from "preact";
import { go } from "../options";

interface LinkProps {
  readonly href: string;
  readonly class?: string;
  readonly children: ComponentChildren;
}

/** A link within the page: a plain click changes the view, anything else is left to the browser. */
export function Link({ href, children, ...rest }: LinkProps) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(href);
  };
  return (
    <a href={href} class={rest.class} onClick={follow}>
      {children}
    </a>
  );
}
