type Theme = "light" | "dark" | "system";
const KEY = "tertulia.theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
let chosen: Theme = "system";

/** The theme of the last visit, so that the page does not flash before the user is loaded. */
export function rememberedTheme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function showTheme(theme: Theme): void {
  chosen = theme;
  localStorage.setItem(KEY, theme);
  const isDark = theme === "dark" || (theme === "system" && systemIsDark.matches);
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
}

systemIsDark.addEventListener("change", () => showTheme(chosen));
