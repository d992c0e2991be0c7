const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** A link that may be followed, with the host to show; nothing for any other scheme, or for what is no address. */
export function allowedLink(href: string | undefined): { href: string; host: string } | undefined {
  if (!href) return undefined;
  try {
    const url = new URL(href);
    return SCHEMES.has(url.protocol) ? { href: url.href, host: url.host || url.pathname } : undefined;
  } catch {
    return undefined;
  }
}
