import type { BaseImages } from '../../src/sandbox/types.ts';

const TEST_RUNTIME_VERSION = '3.11';

/** Ensures the one base image that tests run in and returns its name. Free of vitest: `npm test`'s set-up calls it too. */
export function testImage(baseImages: BaseImages): Promise<string> {
  const runtime = baseImages.available().find((one) => one.runtimeVersion === TEST_RUNTIME_VERSION);
  if (runtime === undefined)
    throw new Error(`No base image with Python ${TEST_RUNTIME_VERSION} can be had here.`);
  return baseImages.ensure(runtime.base, runtime.runtimeVersion, []);
}
