import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findTemporalBinary, locateTemporalBinary } from '../../src/setup/temporalBinary.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'rf-binary-'));
  mkdirSync(join(root, 'cache'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function script(path: string, body = 'exit 0', mode = 0o755): string {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, `#!/bin/sh\n${body}\n`);
  chmodSync(full, mode);
  return full;
}

const cacheDir = (): string => join(root, 'cache');

describe('the Temporal CLI', () => {
  it('is taken from the setting before PATH, and from PATH before the cache', async () => {
    const cached = script('cache/bin/temporal');
    expect(await locateTemporalBinary({ cacheDir: cacheDir(), env: { PATH: '/nowhere' } })).toEqual({
      path: cached,
      how: 'cache',
    });
    const onPath = script('second/temporal');
    const env = { PATH: `${join(root, 'first')}:${join(root, 'second')}` };
    expect(await locateTemporalBinary({ cacheDir: cacheDir(), env })).toEqual({ path: onPath, how: 'PATH' });
    const set = script('elsewhere/temporal-1.5');
    expect(
      await locateTemporalBinary({ cacheDir: cacheDir(), env: { ...env, REPOFORGE_TEMPORAL_CLI: set } }),
    ).toEqual({ path: set, how: 'setting' });
  });

  it('is not a directory or a file that cannot be run', async () => {
    script('first/temporal', 'exit 0', 0o644);
    mkdirSync(join(root, 'second/temporal'), { recursive: true });
    const env = { PATH: `${join(root, 'first')}:${join(root, 'second')}` };
    expect(await locateTemporalBinary({ cacheDir: cacheDir(), env })).toBeNull();
  });

  it('is refused when the setting names nothing that runs, rather than searched elsewhere', async () => {
    script('cache/bin/temporal');
    const env = { PATH: '', REPOFORGE_TEMPORAL_CLI: join(root, 'absent') };
    await expect(locateTemporalBinary({ cacheDir: cacheDir(), env })).rejects.toThrow(
      /REPOFORGE_TEMPORAL_CLI names .*absent, which is not an executable file/,
    );
  });
});

/** Makes the SDK's download fail at once, whatever the machine reaches: its host is resolved through a dead proxy. */
const OFFLINE = { HTTPS_PROXY: 'http://127.0.0.1:1', https_proxy: 'http://127.0.0.1:1' };

describe('a machine without the Temporal CLI', () => {
  it('without Go gets one sentence with the three ways', async () => {
    const lines: string[] = [];
    const found = findTemporalBinary({
      cacheDir: cacheDir(),
      say: (line) => lines.push(line),
      env: { ...OFFLINE, PATH: join(root, 'empty') },
    });
    await expect(found).rejects.toThrow(
      /there is no Go.*"temporal" command on PATH.*install Go.*set TEMPORAL_ADDRESS/,
    );
    expect(lines.join('\n')).toMatch(/download not possible \(.+\)/);
    expect(readdirSync(cacheDir()).filter((name) => name.startsWith('temporal-cli-'))).toEqual([]);
  });

  it('builds it once with private caches when two processes ask at once, and drops the caches', async () => {
    // a go that does what go install does to the file system: read-write module cache, build cache, binary in GOBIN
    script(
      'tools/go',
      `[ "$1" = version ] && exit 0
echo "$@ $GOFLAGS $CGO_ENABLED" >> "${root}/calls"
/bin/mkdir -p "$GOBIN" "$GOMODCACHE/m" "$GOCACHE"
echo '#!/bin/sh' > "$GOBIN/temporal"; /bin/chmod +x "$GOBIN/temporal"; /bin/sleep 0.2`,
    );
    const env = { ...OFFLINE, PATH: join(root, 'tools') };
    const ask = () => findTemporalBinary({ cacheDir: cacheDir(), say: () => undefined, env });
    const [first, second] = await Promise.all([ask(), ask()]);
    expect([first.how, second.how].toSorted()).toEqual(['build', 'cache']);
    expect(first.path).toBe(join(cacheDir(), 'bin/temporal'));
    expect(readFileSync(join(root, 'calls'), 'utf8').trim().split('\n')).toEqual([
      'install -trimpath -ldflags=-s -w github.com/temporalio/cli/cmd/temporal@v1.5.1 -modcacherw 0',
    ]);
    expect(readdirSync(cacheDir()).toSorted()).toEqual(['bin', 'locks']);
  });

  it('says why when the build fails, leaves nothing, and removes what a killed build left', async () => {
    script(
      'tools/go',
      `[ "$1" = version ] && exit 0; echo 'go: module lookup: no route to host' >&2; exit 1`,
    );
    mkdirSync(join(cacheDir(), 'temporal-cli-killed/gopath'), { recursive: true });
    const env = { ...OFFLINE, PATH: join(root, 'tools') };
    await expect(findTemporalBinary({ cacheDir: cacheDir(), say: () => undefined, env })).rejects.toThrow(
      /go install failed: module lookup: no route to host\. Any one of these helps/,
    );
    expect(existsSync(join(cacheDir(), 'temporal-cli-killed'))).toBe(false);
    expect(existsSync(join(cacheDir(), 'bin/temporal'))).toBe(false);
  });
});
