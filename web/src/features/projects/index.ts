export { MoveDialog } from "./components/move-dialog";
export { ProjectLinks } from "./components/project-links";
export { ProjectList } from "./components/project-list";
export { ProjectView } from "./components/project-view";
export { countUnread, projectChanges } from "./events";
export {
  channelsQuery,
  mentionablesQuery,
  placeChannel,
  projectQuery,
  projectsQuery,
  readChannel,
} from "./queries";
