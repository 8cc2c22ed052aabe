import { CSPProvider } from "@base-ui/react/csp-provider";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { makeQueryClient } from "./api/queries.ts";
import { DataNowProvider, TimesProvider } from "./parts/Moment.tsx";
import { ProvenanceProvider } from "./parts/Provenance.tsx";
import { makeRouter } from "./router.tsx";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/parts.css";
import "./styles/access.css";
import "./styles/charts.css";
import "./styles/pages.css";
import "./styles/machine.css";
import "./styles/list.css";
import "./styles/now.css";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");

const queries = makeQueryClient();
const router = makeRouter(queries);

createRoot(root).render(
  <StrictMode>
    <CSPProvider disableStyleElements>
      <QueryClientProvider client={queries}>
        <TimesProvider>
          <DataNowProvider>
            <ProvenanceProvider>
              <RouterProvider router={router} />
            </ProvenanceProvider>
          </DataNowProvider>
        </TimesProvider>
      </QueryClientProvider>
    </CSPProvider>
  </StrictMode>,
);
