import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Typed } from "./Typed.tsx";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const wait = (ms: number) => act(() => vi.advanceTimersByTime(ms));

test("what is typed is asked for once, when its writer pauses", () => {
  const said: string[] = [];
  render(<Typed name="Plan" value="" say={(value) => said.push(value)} known={["pro"]} />);
  const input = screen.getByLabelText("Plan");

  for (const text of ["p", "pr", "pro"]) {
    fireEvent.change(input, { target: { value: text } });
    wait(100);
  }
  expect(said).toEqual([]);
  wait(300);

  expect(said).toEqual(["pro"]);
  expect(document.querySelector("datalist option")?.getAttribute("value")).toBe("pro");
});

test("a text that a link or the way back changes is taken over, and asks nothing", () => {
  const said: string[] = [];
  const say = (value: string) => said.push(value);
  const { rerender } = render(<Typed name="Plan" value="pro" say={say} />);

  rerender(<Typed name="Plan" value="" say={say} />);
  wait(1000);

  expect(screen.getByLabelText<HTMLInputElement>("Plan").value).toBe("");
  expect(said).toEqual([]);
});

test("what came back from the address does not overwrite what is being typed", () => {
  const say = () => undefined;
  const { rerender } = render(<Typed name="Plan" value="" say={say} />);
  const input = screen.getByLabelText<HTMLInputElement>("Plan");
  fireEvent.change(input, { target: { value: "pr" } });
  wait(300);
  fireEvent.change(input, { target: { value: "pro" } });

  rerender(<Typed name="Plan" value="pr" say={say} />);

  expect(input.value).toBe("pro");
});
