type Policy = { createScriptURL: (url: string) => string };
type Factory = { createPolicy: (name: string, rules: Policy) => Policy };

/** The page's only Trusted Types policy. It allows only the addresses of own workers. */
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
