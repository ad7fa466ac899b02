import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { QUEUE_ROLES } from '../src/domain/messages.ts';
import { VARIABLES } from '../src/setup/settings.ts';
import { SHUTDOWN_FORCE_MS, SHUTDOWN_GRACE_MS } from '../src/workers/options.ts';

interface Service {
  readonly image?: string;
  readonly command?: readonly string[];
  readonly stop_grace_period?: string;
  readonly init?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
  readonly env_file?: readonly { readonly path: string }[];
  readonly volumes?: readonly (string | { readonly source: string; readonly target: string })[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly ports?: readonly string[];
  readonly profiles?: readonly string[];
  readonly deploy?: {
    readonly resources: {
      readonly reservations: { readonly devices: readonly { readonly device_ids: readonly string[] }[] };
    };
  };
}

const compose = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
};
const workers = Object.entries(compose.services).filter(([name]) => name.startsWith('worker-'));
const alphabetical = (a: string, b: string): number => a.localeCompare(b);
const variablesIn = (file: string): readonly string[] =>
  [...readFileSync(file, 'utf8').matchAll(/^#?([A-Z][A-Z0-9_]+)=/gm)].map((match) => match[1] ?? '');

describe('the production compose file', () => {
  it('has a worker for every role, and each checks its own role', () => {
    expect(workers.map(([, service]) => (service.command ?? []).join(' ')).toSorted(alphabetical)).toEqual(
      QUEUE_ROLES.map((role) => `worker --role ${role}`).toSorted(alphabetical),
    );
    for (const [name, service] of workers) {
      expect(service.healthcheck?.test.at(-1), name).toBe(service.command?.at(-1));
    }
  });

  it('gives workers longer to stop than they take', () => {
    for (const [name, service] of workers) {
      const seconds = Number(/^(\d+)s$/.exec(service.stop_grace_period ?? '')?.[1]);
      expect(seconds * 1000, name).toBeGreaterThan(SHUTDOWN_GRACE_MS + SHUTDOWN_FORCE_MS);
      expect(service.init, name).toBe(true);
    }
  });

  it('gives workers the Docker socket, and host paths that are the same inside and outside', () => {
    for (const [name, service] of workers) {
      expect(service.volumes, name).toContain('/var/run/docker.sock:/var/run/docker.sock');
      const binds = (service.volumes ?? []).filter((volume) => typeof volume === 'object');
      expect(binds.map((bind) => bind.target)).toEqual([
        service.environment?.['REPOFORGE_STATE'],
        service.environment?.['REPOFORGE_CACHE'],
      ]);
      for (const bind of binds) expect(bind.source).toBe(bind.target);
    }
  });

  it('starts workers only after Temporal answers, and Temporal only after Postgres', () => {
    for (const [, service] of workers)
      expect(service.depends_on?.['temporal']?.condition).toBe('service_healthy');
    expect(compose.services['temporal']?.depends_on?.['postgres']?.condition).toBe('service_healthy');
    for (const name of ['postgres', 'temporal', 'registry'])
      expect(compose.services[name]?.healthcheck, name).toBeDefined();
  });

  it('gives trainer and vLLM the state directory at the path that workers name, a GPU each, and no port of the host', () => {
    const rl = ['trainer', 'vllm'].map((name) => compose.services[name]);
    for (const service of rl) {
      expect(service?.profiles).toEqual(['rl']);
      expect(service?.ports).toBeUndefined();
      const [state] = (service?.volumes ?? []).filter((volume) => typeof volume === 'object');
      expect(state?.target).toBe(workers[0]?.[1].environment?.['REPOFORGE_STATE']);
      expect(state?.source).toBe(state?.target);
      expect(service?.healthcheck).toBeDefined();
    }
    const devices = rl.map((service) => service?.deploy?.resources.reservations.devices[0]?.device_ids[0]);
    expect(new Set(devices).size).toBe(2);
  });

  it('starts vLLM with what the policy client needs', () => {
    const { environment, command } = compose.services['vllm'] ?? {};
    expect(environment).toMatchObject({ VLLM_SERVER_DEV_MODE: '1', VLLM_ALLOW_RUNTIME_LORA_UPDATING: '1' });
    expect(command).toEqual(expect.arrayContaining(['--enable-lora', '--logprobs-mode=processed_logprobs']));
  });

  it('opens ports on the loopback only', () => {
    const ports = Object.values(compose.services).flatMap((service) => service.ports ?? []);
    expect(ports).toHaveLength(3);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  it('declares every volume that it names', () => {
    const named = Object.values(compose.services).flatMap((service) =>
      (service.volumes ?? []).flatMap((volume) =>
        typeof volume === 'string' && /^\w/.test(volume) ? [volume.split(':')[0]] : [],
      ),
    );
    expect(new Set(named)).toEqual(new Set(Object.keys(compose.volumes)));
  });

  it('keeps the database password from the workers, and gives them only variables that we know', () => {
    const known = new Set([...VARIABLES.map((variable) => variable.name), 'UV_DEFAULT_INDEX']);
    for (const [name, service] of workers) {
      expect(
        service.env_file?.map((file) => file.path),
        name,
      ).toEqual(['deploy/worker.env']);
      for (const variable of Object.keys(service.environment ?? {}))
        expect(known, variable).toContain(variable);
    }
    for (const variable of variablesIn('deploy/worker.env.example'))
      expect(known, variable).toContain(variable);
    expect(variablesIn('deploy/.env.example')).toContain('POSTGRES_PASSWORD');
  });

  it('has an example value for every variable that it reads itself', () => {
    const read = [...readFileSync('docker-compose.yml', 'utf8').matchAll(/(?<!\$)\$\{([A-Z_]+)/g)].map(
      (match) => match[1],
    );
    expect(new Set(read)).toEqual(new Set(variablesIn('deploy/.env.example')));
  });
});

describe.each(['.', 'trainer'])('the Dockerfile in %s', (folder) => {
  it('copies only what exists', () => {
    const copied = [
      ...readFileSync(join(folder, 'Dockerfile'), 'utf8').matchAll(/^COPY (?!--from)(.+) \S+$/gm),
    ].flatMap((match) => (match[1] ?? '').split(' '));
    expect(copied.length).toBeGreaterThan(1);
    for (const path of copied) expect(existsSync(join(folder, path)), path).toBe(true);
  });
});
