/** One of a few, named. */
import { Select } from "@base-ui/react/select";
import { useId } from "react";

export interface Option<T extends string> {
  value: T;
  label: string;
}

export function Choice<T extends string>({
  name,
  options,
  value,
  choose,
}: {
  name: string;
  options: readonly Option<T>[];
  value: T;
  choose: (value: T) => void;
}) {
  const id = useId();
  return (
    <div className="field">
      <span id={id}>{name}</span>
      <Select.Root
        items={[...options]}
        value={value}
        onValueChange={(chosen) => choose(chosen as T)}
      >
        <Select.Trigger className="select" aria-labelledby={id}>
          <Select.Value />
          <Select.Icon className="chevron">
            <span />
          </Select.Icon>
        </Select.Trigger>
        <Select.Portal>
          <Select.Positioner sideOffset={4} alignItemWithTrigger={false}>
            <Select.Popup className="popup">
              {options.map((option) => (
                <Select.Item key={option.value} value={option.value} className="item">
                  <Select.ItemText>{option.label}</Select.ItemText>
                </Select.Item>
              ))}
            </Select.Popup>
          </Select.Positioner>
        </Select.Portal>
      </Select.Root>
    </div>
  );
}
