// The login as people meet it.
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { LoginForm } from "./LoginForm.tsx";

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

function shown() {
  render(
    <QueryClientProvider client={new QueryClient()}>
      <LoginForm />
    </QueryClientProvider>,
  );
  return screen.getByLabelText<HTMLInputElement>("Key");
}

test("the key is hidden while it is typed, and named for who does not see it", () => {
  const field = shown();

  expect(field.type).toBe("password");
  expect(field.autocomplete).toBe("current-password");
  expect(screen.getByRole("button", { name: "Log in" }).hasAttribute("disabled")).toBe(true);
});

test("a refusal is said, and is no markup", async () => {
  const problem = { title: "A key is needed", detail: "this key is <b>unknown</b>" };
  vi.stubGlobal("fetch", () =>
    Promise.resolve(
      new Response(JSON.stringify(problem), {
        status: 401,
        headers: { "content-type": "application/problem+json" },
      }),
    ),
  );
  fireEvent.change(shown(), { target: { value: " ebb_wrong " } });
  fireEvent.click(screen.getByRole("button", { name: "Log in" }));

  const said = await screen.findByRole("alert");
  expect(said.textContent).toBe("This key is <b>unknown</b>.");
});
