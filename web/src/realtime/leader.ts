import { Hub } from "./hub";
import type { Ask, Tell } from "./protocol";

const LOCK = "tertulia-hub";

/** Without shared workers (Chrome on Android) one tab holds the connection for the others. */
export function connectByLeader(onTell: (message: Tell) => void): (ask: Ask) => void {
  const channel = new BroadcastChannel(LOCK);
  const wanted = new Set<string>();
  let hub: Hub | undefined;

  const obey = (ask: Ask) => {
    if (ask.ask === "follow") hub?.follow(ask.run_id);
    else if (ask.ask === "unfollow") hub?.unfollow(ask.run_id);
    else if (ask.ask === "restart") hub?.restart();
  };
  channel.onmessage = ({ data }: MessageEvent<Ask | Tell | { hello: true }>) => {
    if ("tell" in data) onTell(data);
    else if ("ask" in data) obey(data);
    else if (hub) channel.postMessage(hub.state);
    else for (const runId of wanted) channel.postMessage({ ask: "follow", run_id: runId });
  };
  channel.postMessage({ hello: true });
  void navigator.locks.request(LOCK, () => {
    hub = new Hub((message) => {
      onTell(message);
      channel.postMessage(message);
    });
    hub.restart();
    for (const runId of wanted) hub.follow(runId);
    channel.postMessage({ hello: true }); // a new leader: the other tabs repeat what they follow
    return new Promise(() => {}); // the lock is held until this tab closes
  });
  return (ask) => {
    if (ask.ask === "follow") wanted.add(ask.run_id);
    if (ask.ask === "unfollow") wanted.delete(ask.run_id);
    if (hub) obey(ask);
    else channel.postMessage(ask);
  };
}
