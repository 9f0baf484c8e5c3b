import { defineConfig } from "vitest/config";

/** Tests in Chromium. They are run one after another: frame times are measured. */
export default defineConfig({
  test: {
    include: ["tests/browser/**/*.test.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
