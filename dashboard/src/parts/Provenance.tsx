/** Says on every page when scores come from a model that has seen no real user. */
import { useQuery } from "@tanstack/react-query";
import { clockQuery } from "../api/queries.ts";
import { SIMULATOR } from "../words/risk.ts";

export function useSimulated(): boolean {
  const { data } = useQuery(clockQuery);
  return data?.origin === SIMULATOR;
}

export function Provenance() {
  if (!useSimulated()) return null;
  return (
    <p className="banner simulated">
      <strong>Trained on simulated users.</strong> These scores show how Ebbtide works, not what
      your users will do.
    </p>
  );
}
