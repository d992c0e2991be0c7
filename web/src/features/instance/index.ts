export { LargestUsers } from "./components/largest-users";
export { SecurityReport } from "./components/security-report";
