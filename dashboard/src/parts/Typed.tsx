/** A text that is asked for once its writer pauses. */
import { useEffect, useId, useRef, useState } from "react";

const PAUSE_MS = 300;

export function Typed({
  name,
  value,
  say,
  known = [],
  search = false,
}: {
  name: string;
  value: string;
  say: (value: string) => void;
  /** What others have written there. */
  known?: readonly string[];
  search?: boolean;
}) {
  const [text, setText] = useState(value);
  const said = useRef(value);
  const list = useId();
  // Of several renderings the newest knows where the text belongs.
  const saying = useRef(say);
  useEffect(() => {
    saying.current = say;
  });
  useEffect(() => {
    // Somebody else changed it: a link, or the way back.
    if (value !== said.current) {
      said.current = value;
      setText(value);
    }
  }, [value]);
  useEffect(() => {
    if (text === said.current) return;
    const later = setTimeout(() => {
      said.current = text;
      saying.current(text);
    }, PAUSE_MS);
    return () => clearTimeout(later);
  }, [text]);
  return (
    <label className="field">
      <span>{name}</span>
      <input
        type={search ? "search" : "text"}
        value={text}
        maxLength={256}
        autoComplete="off"
        spellCheck={false}
        list={known.length > 0 ? list : undefined}
        onChange={({ target }) => setText(target.value)}
      />
      {known.length > 0 && (
        <datalist id={list}>
          {known.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
    </label>
  );
}
