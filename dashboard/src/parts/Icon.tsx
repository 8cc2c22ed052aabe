/** Line drawings, 24 by 24, in the colour of the text. */

const PATHS = {
  wave: "M2 9c3 0 3 2.500 5.500 2.500S10.500 9 13 9s3 2.500 5.500 2.500S21 9 22 9M2 15c3 0 3 2.500 5.500 2.500s3-2.500 5.500-2.500 3 2.500 5.500 2.500S21 15 22 15",
  now: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 8v4.500l3 2",
  bell: "M6 16V11a6 6 0 0 1 12 0v5l1.500 2h-15zM10 20.500a2 2 0 0 0 4 0",
  curve: "M4 4v16h16M7 16c5 0 4-9 12-9",
  pulse: "M2 12h5l2.500-7 4 14 2.500-7h6",
  flask:
    "M9 3h6M10 3v6l-5.500 9.500A1.700 1.700 0 0 0 6 21h12a1.700 1.700 0 0 0 1.500-2.500L14 9V3M7.500 15h9",
  arrow: "M5 12h14M13 6l6 6-6 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
