import { defineConfig } from "vitest/config";

/** Airflow's page gives plugins its React, and takes the component by the global name AirflowPlugin. */
export default defineConfig({
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  oxc: { jsx: { runtime: "classic" } },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    license: { fileName: "licenses.md" },
    lib: { entry: "src/main.tsx", formats: ["umd"], name: "AirflowPlugin", fileName: () => "main.umd.cjs" },
    rolldownOptions: {
      external: ["react"],
      output: { globals: { react: "React" }, exports: "default" },
    },
  },
  test: { include: ["test/**/*.test.{ts,tsx}"] },
});
