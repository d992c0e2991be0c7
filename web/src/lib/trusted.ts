type Policy = { createScriptURL: (url: string) => string };
type Factory = { createPolicy: (name: string, rules: Policy) => Policy };

/** The page's one Trusted Types policy lets nothing through but the addresses of our own workers. */
const ours: Policy = {
  createScriptURL: (url) => {
    if (new URL(url, location.href).origin !== location.origin) throw new TypeError("not a worker of ours");
    return url;
  },
};
const factory = (globalThis as { trustedTypes?: Factory }).trustedTypes;
const policy = factory ? factory.createPolicy("tertulia", ours) : ours;

export function workerUrl(url: string): string {
  return policy.createScriptURL(url);
}
