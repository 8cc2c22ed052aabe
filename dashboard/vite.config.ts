import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const gateway = process.env["EBBTIDE_GATEWAY"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  base: "/app/",
  plugins: [react()],
  build: {
    outDir: process.env["EBBTIDE_DASHBOARD_OUT"] ?? "../ingest_api/web",
    emptyOutDir: true,
    // Nothing inline: the gateway's Content-Security-Policy allows files of its own only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: {
    proxy: Object.fromEntries(
      [
        ...["/users", "/alerts", "/deliveries", "/storm", "/policy", "/population", "/model"],
        ...["/system", "/dead-letters", "/predict", "/readyz", "/metrics", "/session", "/audit"],
      ].map((path) => [
        path,
        gateway,
      ]),
    ),
  },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
});
