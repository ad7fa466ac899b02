import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { QUEUE_ROLES, type QueueRole } from '../../domain/messages.ts';
import type { InstanceRow } from '../../domain/types.ts';
import { readNativeRows } from '../../export/dataset.ts';
import { formatBytes } from '../../report/html.ts';
import { openState } from '../../setup/state.ts';
import { stopEmbeddedTemporal } from '../../setup/temporalServer.ts';
import {
  measureArtefacts,
  measureStorage,
  type ArtefactFigures,
  type StorageReport,
} from '../../store/storage.ts';
import { settingsFrom, withDependencies, withSession, type GlobalOptions } from '../context.ts';
import { createOutput, EXIT, table, UsageError } from '../output.ts';
import { withWorkers } from '../signals.ts';

/** `worker`, `dev`, `dev stop`, `doctor`. */
export function addInstallationCommands(root: Command): void {
  root
    .command('worker')
    .description('work for campaigns and evaluations until stopped (Ctrl-C: running work is handed back)')
    .option('--role <roles...>', `task queues to serve: ${QUEUE_ROLES.join(', ')} (default: all)`)
    .action(async (_options: object, command: Command) => {
      const { role } = command.optsWithGlobals<{ readonly role?: readonly string[] }>();
      await work(command, rolesFrom(role));
    });
  const dev = root
    .command('dev')
    .description('the embedded Temporal server with its UI, and all workers, until stopped')
    .action((_options: object, command: Command) => work(command, QUEUE_ROLES));
  dev
    .command('stop')
    .description('end the embedded Temporal server of this installation; its state is kept')
    .action(async (_options: object, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const state = await openState(settingsFrom(options).stateDir);
      const stopped = await stopEmbeddedTemporal(state);
      createOutput({ json: options.json === true }).result(
        { stopped },
        stopped
          ? 'The embedded Temporal server has ended; its state is kept.'
          : 'No embedded Temporal server was running.',
      );
    });
  root
    .command('storage')
    .description('what this installation holds on disk: total, unique and per instance; inodes once')
    .action(storage);
  root
    .command('doctor')
    .description('look at everything a campaign needs and say what to do; starts nothing')
    .action(async (_options: object, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const { runDoctor } = await import('../../setup/doctor.ts');
      const checks = await runDoctor();
      const marks = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const;
      const rows = checks.map(({ name, ok, detail, fix }) => [
        marks[ok],
        name,
        fix === undefined ? detail : `${detail}; ${fix}`,
      ]);
      createOutput({ json: options.json === true }).result({ checks }, table(rows));
      if (checks.some(({ ok }) => ok === 'fail')) process.exitCode = EXIT.failed;
    });
}

function rolesFrom(names: readonly string[] | undefined): readonly QueueRole[] {
  if (names === undefined) return QUEUE_ROLES;
  return names
    .flatMap((name) => name.split(','))
    .map((name) => {
      const role = QUEUE_ROLES.find((known) => known === name);
      if (role === undefined)
        throw new UsageError(`There is no role "${name}"; roles are ${QUEUE_ROLES.join(', ')}.`);
      return role;
    });
}

async function work(command: Command, roles: readonly QueueRole[]): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const output = createOutput({ json: options.json === true });
  await withSession(
    options,
    output,
    async (session) => {
      await withWorkers(session.startWorkers(roles), output, async (workers) => {
        output.say(
          `Working for ${roles.join(', ')} at ${session.temporal.connectionOptions.address}.${session.temporal.uiUrl === null ? '' : ` Temporal UI: ${session.temporal.uiUrl}`}`,
        );
        await workers.ended;
      });
      output.result(
        { ended: true, roles },
        'Stopped; running work was handed back and goes on when a worker is there.',
      );
    },
    { docker: roles.includes('sandbox') },
  );
}

async function storage(_options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const output = createOutput({ json: options.json === true });
  await withDependencies(
    options,
    output,
    async (deps) => {
      const { dir, installation, paths } = deps.state;
      const campaigns = new Map<string, readonly InstanceRow[]>();
      for (const name of await readdir(paths.campaigns)) {
        const rows = await readNativeRows(join(paths.campaigns, name, 'dataset.jsonl')).catch(() => []);
        if (rows.length > 0) campaigns.set(name, rows);
      }
      const report = await measureStorage({ ...deps, installation, stateDir: dir }, campaigns);
      const artefacts = await measureArtefacts({ ...deps, campaignsDir: paths.campaigns });
      output.result({ ...report, artefacts }, storageText(report, artefacts));
    },
    { docker: true },
  );
}

function storageText(report: StorageReport, artefacts: ArtefactFigures): string {
  const { packageStore } = report;
  const bytes = (value: number | null): string => (value === null ? '–' : formatBytes(value));
  return [
    table([
      ['total', bytes(report.totalBytes)],
      ...report.baseImages.map((image) => [`base image ${image.image}`, bytes(image.bytes)]),
      [`environments (${report.environments.length})`, bytes(packageStore.environmentBytes)],
      ['package cache that no environment uses', bytes(packageStore.cacheOnlyBytes)],
      ['working cache and full variants', bytes(packageStore.workingBytes)],
      ['copies where a hardlink failed', bytes(packageStore.copiedBytes)],
      ...Object.entries(report.state).map(([name, size]) => [`state: ${name}`, bytes(size)]),
      ['artefacts of rows', bytes(artefacts.rows)],
      ['artefacts of their evidence', bytes(artefacts.evidence)],
      ['artefacts of evaluations', bytes(artefacts.evaluations)],
      ['artefacts of other work', bytes(artefacts.work)],
      ['artefacts that gc frees', bytes(artefacts.unreferenced)],
    ]),
    ...(report.campaigns.length === 0 ? [] : ['', 'Per published instance']),
    table(
      report.campaigns.map((campaign) => [
        `  ${campaign.campaign} (${campaign.instances})`,
        `${bytes(campaign.uniqueBytesPerInstance)} unique`,
        `${bytes(campaign.withMirrorsPerInstance)} with mirrors`,
        `${bytes(campaign.withMirrorsAndBaseImagesPerInstance)} with base images`,
      ]),
    ),
  ].join('\n');
}
