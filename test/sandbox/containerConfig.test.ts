import { describe, expect, it } from 'vitest';
import { containerConfig } from '../../src/sandbox/docker.ts';
import { earlierAttemptsFilter, isEarlierAttempt, labelsOf } from '../../src/sandbox/labels.ts';
import { dockerMount, knowsSubpath } from '../../src/sandbox/mounts.ts';
import type { SandboxSpec } from '../../src/sandbox/types.ts';

const owner = {
  installation: '0123456789ab',
  host: 'laptop',
  campaign: 'demo',
  workflowId: 'instance/demo/x',
  runId: 'r1',
  activityId: '7',
  attempt: 3,
};
const spec: SandboxSpec = {
  image: 'repoforge-base:x',
  owner,
  network: 'none',
  limits: { memoryBytes: 1_000_000, pids: 64, cpus: 1.5 },
  mounts: [],
  env: { A: '1' },
};
const build = {
  network: 'bridge',
  caBundle: '/host/ca.crt',
  env: {
    HTTPS_PROXY: 'http://user:secret@proxy.example:1',
    UV_DEFAULT_INDEX: 'https://index.example/simple',
  },
};

describe('a sandbox container', () => {
  it('has no network, no capability, no new privileges, no swap and all limits unless somebody changes this table', () => {
    expect(containerConfig(spec, null, build).HostConfig).toMatchObject({
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      Memory: 1_000_000,
      MemorySwap: 1_000_000,
      PidsLimit: 64,
      NanoCpus: 1_500_000_000,
      Init: true,
      Mounts: [],
    });
    expect(containerConfig(spec, null, build).HostConfig).not.toHaveProperty('Privileged');
  });

  it('gets proxy, index and CA bundle in builds only', () => {
    expect(containerConfig(spec, null, build).Env).toEqual(['A=1']);
    const config = containerConfig({ ...spec, network: 'build' }, null, build);
    expect(config.Env).toContain('UV_DEFAULT_INDEX=https://index.example/simple');
    expect(config.HostConfig?.NetworkMode).toBe('bridge');
    expect(config.HostConfig?.Mounts).toEqual([
      { Type: 'bind', Source: '/host/ca.crt', Target: '/etc/ssl/certs/ca-certificates.crt', ReadOnly: true },
    ]);
  });

  it('never carries a secret of the build network in a label', () => {
    const config = containerConfig({ ...spec, network: 'build' }, null, build);
    expect(JSON.stringify(config.Labels)).not.toContain('secret');
  });

  it('is labelled with all that is known of its owner and nothing else', () => {
    expect(labelsOf(owner)).toEqual({
      'repoforge.installation': '0123456789ab',
      'repoforge.host': 'laptop',
      'repoforge.campaign': 'demo',
      'repoforge.workflow': 'instance/demo/x',
      'repoforge.run': 'r1',
      'repoforge.activity': '7',
      'repoforge.attempt': '3',
    });
    expect(labelsOf({ installation: 'i', host: 'h' })).toEqual({
      'repoforge.installation': 'i',
      'repoforge.host': 'h',
    });
  });
});

describe('what earlier attempts left', () => {
  it('is looked for by installation, workflow, run and activity, on any host', () => {
    expect(earlierAttemptsFilter(owner)).toEqual([
      'repoforge.installation=0123456789ab',
      'repoforge.campaign=demo',
      'repoforge.workflow=instance/demo/x',
      'repoforge.run=r1',
      'repoforge.activity=7',
    ]);
  });

  it.each([
    ['a first attempt', { ...owner, attempt: 1 }],
    ['an owner outside Temporal', { installation: 'i', host: 'h' }],
  ])('is not looked for by %s', (_case, someone) => {
    expect(earlierAttemptsFilter(someone)).toBeNull();
  });

  it.each([
    ['2', true],
    ['3', false],
    ['10', false],
    [undefined, false],
  ])('attempt %s is earlier than 3: %s', (attempt, expected) => {
    expect(isEarlierAttempt(attempt === undefined ? {} : { 'repoforge.attempt': attempt }, 3)).toBe(expected);
  });
});

describe('a mount of the store', () => {
  const volume = {
    name: 'repoforge-i-store',
    mountpoint: '/var/lib/docker/volumes/x/_data',
    subpathKnown: false,
  };
  const mount = { kind: 'store', subpath: 'envs/abc', target: '/env', readOnly: true } as const;

  it('is a bind of one directory of the volume where the daemon knows no sub-paths', () => {
    expect(dockerMount(mount, volume)).toEqual({
      Type: 'bind',
      Source: '/var/lib/docker/volumes/x/_data/envs/abc',
      Target: '/env',
      ReadOnly: true,
    });
  });

  it("is the daemon's own sub-path mount from API 1.45 on", () => {
    expect(dockerMount(mount, { ...volume, subpathKnown: true })).toMatchObject({
      Type: 'volume',
      Source: 'repoforge-i-store',
      VolumeOptions: { Subpath: 'envs/abc', NoCopy: true },
    });
  });

  it.each(['', '.', '/', '..', '../other', 'envs/../..', '/etc'])('refuses the sub-path "%s"', (subpath) => {
    expect(() => dockerMount({ ...mount, subpath }, volume)).toThrow(/not a directory inside the store/);
  });

  it.each([
    ['1.41', false],
    ['1.44', false],
    ['1.45', true],
    ['1.100', true],
    ['2.0', true],
  ])('API %s knows sub-paths: %s', (version, expected) => {
    expect(knowsSubpath(version)).toBe(expected);
  });
});
