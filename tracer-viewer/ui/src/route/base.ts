/**
 * Where the viewer's pages begin: the server may stand below a path prefix, and answers unknown paths with this page. The
 * page's script lies one folder below, wherever the page itself was asked for.
 */
export function baseOf(page: string, script: string | null): URL {
  return script === null ? new URL(".", page) : new URL("..", new URL(script, page));
}

/** What stands behind the base in the page's own address: empty for the viewer's page. */
export function pathBehind(base: URL, page: URL): string {
  const path = page.pathname.startsWith(base.pathname) ? page.pathname.slice(base.pathname.length) : page.pathname;
  return path === "index.html" ? "" : path;
}

const hasPage = typeof document !== "undefined";

/** Where the viewer's pages begin. */
export const base: URL = hasPage
  ? baseOf(
      location.href,
      document.querySelector<HTMLScriptElement>('script[type="module"][src]')?.getAttribute("src") ?? null,
    )
  : new URL("http://localhost/");

/** The path of this page behind the base, if it is none of the viewer's; else empty. */
export const strayPath: string = hasPage ? pathBehind(base, new URL(location.href)) : "";
