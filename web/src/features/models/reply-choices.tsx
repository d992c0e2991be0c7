import { Brain, Globe, ImagePlus } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { cx } from "@/ui/class-names";
import { EFFORT_WORDS, type Effort } from "./abilities";
import type { Model } from "./queries";

type EffortProps = {
  model: Model | undefined;
  value: Effort | null;
  onChoose: (effort: Effort | null) => void;
};

/** Choose how long the model thinks. Hidden for models that leave no choice. */
export function EffortChoice({ model, value, onChoose }: EffortProps) {
  const efforts = model?.capabilities.efforts ?? [];
  if (efforts.length === 0) return null;
  const options = [
    { value: "", label: "Default thinking", note: "The model decides" },
    ...efforts.map((effort) => ({ value: effort, label: EFFORT_WORDS[effort] })),
  ];
  const shown = value && (efforts.includes(value) ? value : nearest(value, efforts));
  return (
    <Choice
      label="Thinking"
      value={shown ?? ""}
      options={options}
      icon={<Brain size={16} strokeWidth={1.5} aria-hidden />}
      className={cx("max-w-44 text-sm", value ? "text-text" : "text-text-muted")}
      onChoose={(chosen) => onChoose(chosen === "" ? null : (chosen as Effort))}
    />
  );
}

const ORDER = Object.keys(EFFORT_WORDS) as Effort[];

/** The effort that the server takes for one that the model lacks: the nearest, and the cheaper of two. */
export function nearest(wanted: Effort, efforts: readonly Effort[]): Effort {
  const usable = wanted === "none" ? efforts : efforts.filter((effort) => effort !== "none");
  const distance = (effort: Effort) => Math.abs(ORDER.indexOf(effort) - ORDER.indexOf(wanted));
  if (wanted === "max") return efforts.at(-1) ?? wanted;
  return (
    [...usable].sort((a, b) => distance(a) - distance(b) || ORDER.indexOf(a) - ORDER.indexOf(b))[0] ?? wanted
  );
}

type SwitchProps = { model: Model | undefined; isOn: boolean; onToggle: (isOn: boolean) => void };

/** Switch the web search of the model's vendor on or off. Hidden for models without one. */
export function SearchSwitch({ model, isOn, onToggle }: SwitchProps) {
  const search = model?.capabilities.web_search ?? "no";
  if (search === "no") return null;
  const label = isOn ? "Searches the web" : "Search the web";
  return (
    <OfferSwitch
      label={
        search === "always"
          ? "This model searches the web for each reply"
          : `${label}${search === "alone" ? ", without tools" : ""}`
      }
      isAlways={search === "always"}
      isOn={isOn}
      onToggle={onToggle}
    >
      <Globe size={16} strokeWidth={1.5} aria-hidden />
    </OfferSwitch>
  );
}

/** Switch pictures by the model's vendor on or off. Hidden for models without them. */
export function PicturesSwitch({ model, isOn, onToggle }: SwitchProps) {
  const pictures = model?.capabilities.pictures ?? "no";
  if (pictures === "no") return null;
  return (
    <OfferSwitch
      label={
        pictures === "always"
          ? "This model makes pictures"
          : isOn
            ? "Makes pictures on request"
            : "Make pictures on request"
      }
      isAlways={pictures === "always"}
      isOn={isOn}
      onToggle={onToggle}
    >
      <ImagePlus size={16} strokeWidth={1.5} aria-hidden />
    </OfferSwitch>
  );
}

type OfferProps = {
  label: string;
  isAlways: boolean;
  isOn: boolean;
  onToggle: (isOn: boolean) => void;
  children: ReactNode;
};

function OfferSwitch({ label, isAlways, isOn, onToggle, children }: OfferProps) {
  return (
    <IconButton
      label={label}
      aria-pressed={isOn || isAlways}
      disabled={isAlways}
      className={cx((isOn || isAlways) && "bg-accent-quiet text-accent")}
      onClick={() => onToggle(!isOn)}
    >
      {children}
    </IconButton>
  );
}
