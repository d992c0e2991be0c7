const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** Return a link and its host, or undefined for other schemes and invalid addresses. */
export function allowedLink(href: string | undefined): { href: string; host: string } | undefined {
  if (!href) return undefined;
  try {
    const url = new URL(href);
    return SCHEMES.has(url.protocol) ? { href: url.href, host: url.host || url.pathname } : undefined;
  } catch {
    return undefined;
  }
}
