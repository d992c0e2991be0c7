import { createContext, useContext, useEffect, useState } from "react";
import type { Realtime } from "./client";

const RealtimeContext = createContext<Realtime | undefined>(undefined);

export const RealtimeProvider = RealtimeContext.Provider;

export function useRealtime(): Realtime {
  const realtime = useContext(RealtimeContext);
  if (!realtime) throw new Error("useRealtime outside of its provider");
  return realtime;
}

export function useConnection(): Realtime["connection"] {
  const realtime = useRealtime();
  const [state, setState] = useState(realtime.connection);
  useEffect(() => {
    setState(realtime.connection);
    return realtime.listen((message) => message.tell === "connection" && setState(message.state));
  }, [realtime]);
  return state;
}
