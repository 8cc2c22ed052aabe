/** Says on every page when scores come from a model that has seen no real user. */
import { createContext, useContext, useEffect, type ReactNode } from "react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { clockQuery, modelQuery } from "../api/queries.ts";

const Simulated = createContext(false);

/** Asks for it, once for all risks below. */
export function ProvenanceProvider({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const { data: model } = useQuery(modelQuery);
  const { data: serving } = useQuery({ ...clockQuery, select: ({ model: version }) => version });
  useEffect(() => {
    // The gateway has started anew, with another one.
    if (serving !== undefined) void queries.invalidateQueries({ queryKey: modelQuery.queryKey });
  }, [queries, serving]);
  return <Simulated value={model?.is_simulated === true}>{children}</Simulated>;
}

export const useSimulated = () => useContext(Simulated);

export function Provenance() {
  if (!useSimulated()) return null;
  return (
    <p className="banner simulated">
      <strong>Trained on simulated users.</strong> These scores show how Ebbtide works, not what
      your users will do.
    </p>
  );
}
