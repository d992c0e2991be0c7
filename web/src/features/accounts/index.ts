export { AuditLog } from "./components/audit-log";
export { ConfirmPassword } from "./components/confirm-password";
export { DeletionNotice } from "./components/delete-account";
export { SetupForm, SignInForm } from "./components/entry";
export { People } from "./components/people";
export { Security } from "./components/security";
export { SettingsForm } from "./components/settings-form";
export { accountChanges } from "./events";
export { meQuery, placeInTimeZone, setupQuery, signOut } from "./queries";
