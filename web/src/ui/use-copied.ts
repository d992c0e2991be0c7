import { useEffect, useState } from "react";

/** Copy a text, and return true for two seconds afterwards. */
export function useCopied(): [boolean, (text: string) => void] {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [isCopied]);
  return [isCopied, (text) => void navigator.clipboard.writeText(text).then(() => setCopied(true))];
}
