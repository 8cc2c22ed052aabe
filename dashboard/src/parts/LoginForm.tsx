/** Asks for a key, in place of the page that needs one. */
import { Field } from "@base-ui/react/field";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Refused } from "../api/client.ts";
import { logIn } from "../api/session.ts";
import { Icon } from "./Icon.tsx";

export function LoginForm() {
  const queries = useQueryClient();
  const [key, setKey] = useState("");
  const { mutate, error, isPending } = useMutation({
    mutationFn: (given: string) => logIn(queries, given),
  });
  useEffect(() => {
    document.title = "Log in · Ebbtide";
  }, []);
  return (
    <div className="login">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const given = key.trim();
          if (given !== "" && !isPending) mutate(given);
        }}
      >
        <p className="brand">
          <Icon name="wave" /> <span>Ebbtide</span>
        </p>
        <h1>Log in</h1>
        <p className="lead">This gateway asks for a key.</p>
        <Field.Root name="key" invalid={error !== null} className="field">
          <Field.Label>Key</Field.Label>
          <Field.Control
            type="password"
            autoComplete="current-password"
            autoCapitalize="off"
            spellCheck={false}
            autoFocus
            required
            maxLength={256}
            value={key}
            onValueChange={setKey}
          />
          <Field.Description className="note">
            One with the scope <code>read</code>, made by <code>ebbtide keys new</code>. This
            browser does not keep it.
          </Field.Description>
          {error !== null && (
            <Field.Error match className="wrong" role="alert">
              {words(error)}
            </Field.Error>
          )}
        </Field.Root>
        <button type="submit" disabled={isPending || key.trim() === ""}>
          {isPending ? "Logging in" : "Log in"}
        </button>
      </form>
    </div>
  );
}

function words(error: Error): string {
  const said = error instanceof Refused ? error.detail : error.message;
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}.`;
}
