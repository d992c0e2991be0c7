export { SetupForm, SignInForm } from "./components/entry";
export { SettingsForm } from "./components/settings-form";
export { meQuery, setupQuery, signOut } from "./queries";
