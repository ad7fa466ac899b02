import { describe, expect, test } from 'vitest';
import {
  throwIfInfrastructure,
  throwIfKilled,
  throwIfUndelivered,
} from '../../../src/ecosystems/python/storeContainer.ts';
import type { ExecResult } from '../../../src/sandbox/types.ts';

/** As uv 0.13.9 words them, from an index that was made to fail. */
const FAILURES: readonly (readonly [string, string])[] = [
  [
    'a listed file that is forbidden',
    'error: Failed to fetch: https://index/files/foo-1.0.whl\n  cause: HTTP status client error (403 Forbidden) for url (https://index/files/foo-1.0.whl)',
  ],
  [
    'a listed file that is missing',
    'error: Failed to download and build `foo==1.0`\n  cause: Failed to fetch: https://index/files/foo-1.0.tar.gz\n  cause: HTTP status client error (404 Not Found) for url (https://index/files/foo-1.0.tar.gz)',
  ],
  [
    'a proxy that wants a password',
    'error: Failed to fetch: https://index/simple/foo/\n  cause: HTTP status client error (407 Proxy Authentication Required) for url (https://index/simple/foo/)',
  ],
  [
    'an index that wants a password',
    'hint: An index URL (https://index/simple/) could not be queried due to a lack of valid authentication credentials (401 Unauthorized)',
  ],
  [
    'a failing server',
    'error: Request failed after 1 retry in 1.4s\n  cause: Failed to fetch: https://index/simple/foo/\n  cause: HTTP status server error (500 Internal Server Error) for url (https://index/simple/foo/)',
  ],
  [
    'a slow network',
    'cause: Failed to download distribution due to network timeout. Try increasing UV_HTTP_TIMEOUT (current value: 30s).',
  ],
  ['a connection cut in a wheel', 'cause: error reading a body from connection'],
  ['a wheel that ends early', 'cause: I/O operation failed during extraction\n  cause: unexpected BufError'],
  ['a member that ends early', 'cause: Bad uncompressed size (got 3, expected 4) for file: foo/__init__.py'],
  [
    'a source archive that ends early',
    'cause: at byte 10533: failed to read tar data\n  cause: failed to read tar data\n  cause: unexpected end of file',
  ],
  [
    'a wheel that ends early when its metadata is read',
    'error: No solution found when resolving dependencies\n  cause: Because all versions of foo have an invalid package format and you require foo, we can conclude that your requirements are unsatisfiable.\n\nhint: The structure of `foo` (v1.0) was invalid:\n  Failed to read from zip file',
  ],
  [
    'a lock that is held',
    'error: Could not acquire lock\n  cause: Timeout (2s) when waiting for lock on `/store/cache-full` at `/store/cache-full/.lock`, is another uv process running? You can set `UV_LOCK_TIMEOUT` to increase the timeout.',
  ],
];

const VERDICTS: readonly (readonly [string, string])[] = [
  [
    'a package that no index has',
    'error: No solution found when resolving dependencies\n  cause: Because foo was not found in the package registry and you require foo, we can conclude that your requirements are unsatisfiable.',
  ],
  [
    'a source that does not build',
    'error: Failed to build `foo==1.0`\n  cause: The build backend returned an error\n  cause: Call to `setuptools.build_meta.build_wheel` failed (exit status: 1)\nfoo.c:3: error: unexpected end of file',
  ],
  [
    'a back end that no index has',
    'error: Failed to download and build `foo==1.0`\n  cause: Failed to resolve requirements from `build-system.requires`\n  cause: Because gonepkg was not found in the package registry and you require gonepkg, we can conclude that your requirements are unsatisfiable.',
  ],
];

const MISMATCH =
  'error: Failed to download and build `foo==1.0`\n  cause: Hash mismatch for `foo==1.0`\n\n         Expected:\n           sha256:c4';

describe('what uv says', () => {
  test.each(FAILURES)('of %s is no verdict', (_what, output) => {
    expect(() => throwIfInfrastructure(output, 'Resolving')).toThrow(
      expect.objectContaining({ type: 'Infra', nonRetryable: false }),
    );
    expect(() => throwIfUndelivered(output, 'Resolving')).toThrow();
  });

  test.each(VERDICTS)('of %s is one', (_what, output) => {
    throwIfUndelivered(output, 'Resolving');
  });

  test('of another hash is one about a lock that somebody gave, and none about the index itself', () => {
    throwIfInfrastructure(MISMATCH, 'Filling');
    expect(() => throwIfUndelivered(MISMATCH, 'Resolving')).toThrow(
      expect.objectContaining({ type: 'Infra' }),
    );
  });

  test('of a full disk is told apart', () => {
    expect(() => throwIfInfrastructure('No space left on device (os error 28)', 'Filling')).toThrow(
      expect.objectContaining({ type: 'Infra.NoDisk' }),
    );
  });
});

test.each([
  [{ exitCode: 137, outOfMemory: false }, true],
  [{ exitCode: 143, outOfMemory: false }, true],
  [{ exitCode: 1, outOfMemory: true }, true],
  [{ exitCode: 1, outOfMemory: false }, false],
  [{ exitCode: 255, outOfMemory: false }, false],
])('a program that ended with %j was killed: %s', (result, killed) => {
  const check = (): void => throwIfKilled(result as ExecResult, 'Building');
  if (killed) expect(check).toThrow(expect.objectContaining({ type: 'Infra' }));
  else expect(check).not.toThrow();
});
