/** Says it when what is on the page is no longer fresh, and why. */
import { useQuery } from "@tanstack/react-query";
import { clockQuery } from "../api/queries.ts";
import { Refused } from "../api/client.ts";
import { Moment } from "./Moment.tsx";

export function Connection() {
  const { error, dataUpdatedAt } = useQuery(clockQuery);
  return (
    <div role="status" className="connection">
      {error !== null && (
        <p className="banner lost">
          <strong>
            {error instanceof Refused ? error.message : "The gateway does not answer"}.
          </strong>{" "}
          {dataUpdatedAt > 0 ? (
            <>
              What you see was true <Moment at={dataUpdatedAt} by="viewer" />.{" "}
            </>
          ) : null}
          Trying again every few seconds.
        </p>
      )}
    </div>
  );
}
