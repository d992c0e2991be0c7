import { Choice } from "@/ui/choice";
import type { User } from "../queries";

type Props = { role: User["role"]; onChoose: (role: User["role"]) => void };

/** The role of a new account. */
export function RoleChoice({ role, onChoose }: Props) {
  return (
    <Choice
      label="Role"
      showLabel
      value={role}
      options={[
        { value: "user", label: "User" },
        { value: "admin", label: "Administrator", note: "Manages people" },
      ]}
      onChoose={(chosen) => onChoose(chosen as User["role"])}
    />
  );
}
