/** The soak: the same work twice, left alone and under faults, on a daemon of its own; and what may not differ. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { CampaignRequest } from '../../src/client/campaigns.ts';
import { baseImageName } from '../../src/sandbox/baseImages.ts';
import { connectDocker } from '../../src/sandbox/docker.ts';
import { RUNTIMES } from '../../src/sandbox/runtimes.ts';
import { copyImage, mountsOf, processesOf, startOwnDaemon } from './daemon.ts';
import type { Fault } from './faults.ts';
import { runTrial, type Trial } from './trial.ts';

export const SOAK_RUNTIME = '3.11';

export interface SoakOptions {
  /** Empty, or not there yet; kept when the soak ends, without the daemon's data. */
  readonly directory: string;
  readonly request: CampaignRequest;
  /** Inflicted one after the other on the second trial. */
  readonly faults: readonly Fault[];
  readonly slots: number;
  readonly temporalCli?: string;
  /** Ends the soak early, and all that it started. */
  readonly signal?: AbortSignal;
  readonly say: (line: string) => void;
}

export interface SoakReport {
  readonly undisturbed: Trial;
  readonly disturbed: Trial;
  /** One sentence for each thing that differs or was left over; empty when the soak passed. */
  readonly problems: readonly string[];
}

/** Runs both trials and compares them. Everything that it started has ended when it returns or throws. */
export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { directory, say, temporalCli, signal = new AbortController().signal } = options;
  const daemonDirectory = join(directory, 'daemon');
  const daemon = await startOwnDaemon(daemonDirectory);
  let trials: { readonly undisturbed: Trial; readonly disturbed: Trial };
  try {
    await bringImage(daemon.docker, say);
    const trial = (name: string, faults: readonly Fault[]): Promise<Trial> => {
      say(`${name}:`);
      return runTrial({ ...options, directory: join(directory, name), daemon, faults, temporalCli, signal });
    };
    const undisturbed = await trial('undisturbed', []);
    const disturbed = await trial('disturbed', options.faults);
    trials = { undisturbed, disturbed };
  } finally {
    await daemon.close();
  }
  const left = await leftovers(directory);
  await rm(daemonDirectory, { recursive: true, force: true });
  return { ...trials, problems: [...differences(trials, options.faults.length), ...left] };
}

/** Puts the base image of the soak's campaigns onto its daemon, where the shared one has it. */
export async function bringImage(
  to: Parameters<typeof copyImage>[1],
  say: SoakOptions['say'],
): Promise<void> {
  const runtime = RUNTIMES.find(({ runtimeVersion }) => runtimeVersion === SOAK_RUNTIME);
  if (runtime === undefined) throw new Error(`There is no runtime ${SOAK_RUNTIME}.`);
  const image = baseImageName(runtime.base, SOAK_RUNTIME, []);
  const copied = await copyImage(connectDocker(), to, image);
  say(copied ? `copied ${image}` : `${image} is not here yet: it is made first, which takes minutes`);
}

const LINGER_MS = 10_000; // a shim ends a moment after its daemon

/** Processes and mounts that outlived the daemon and the trials. */
async function leftovers(directory: string): Promise<readonly string[]> {
  const giveUpAt = Date.now() + LINGER_MS;
  while (processesOf(directory).length + mountsOf(directory).length > 0 && Date.now() < giveUpAt)
    await delay(100);
  return [
    ...processesOf(directory).map(({ pid, command }) => `Process ${pid} is left: ${command.slice(0, 200)}`),
    ...mountsOf(directory).map((point) => `A mount is left: ${point}`),
  ];
}

function differences(
  { undisturbed, disturbed }: Pick<SoakReport, 'undisturbed' | 'disturbed'>,
  wanted: number,
): readonly string[] {
  const same = (what: string, a: unknown, b: unknown): readonly string[] =>
    JSON.stringify(a) === JSON.stringify(b)
      ? []
      : [`${what}: ${brief(a)} undisturbed, ${brief(b)} disturbed`];
  return [
    ...(undisturbed.result.published > 0 ? [] : ['Nothing was published: nothing was shown']),
    ...(disturbed.faults.length === wanted
      ? []
      : [`Only ${disturbed.faults.length} of ${wanted} faults hit while something ran`]),
    ...same('The dataset differs', undisturbed.dataset, disturbed.dataset),
    ...same('Other things are recorded', withoutProver(undisturbed), withoutProver(disturbed)),
    ...[undisturbed, disturbed].flatMap(problemsOf),
  ];
}

function problemsOf(trial: Trial): readonly string[] {
  const twice = trial.instances.filter(({ stages }) => new Set(stages).size < stages.length);
  return [
    ...trial.wrong,
    ...trial.containersLeft.map((labels) => `A container is left: ${labels}`),
    ...trial.temporaryLeft.map((name) => `A temporary file is left: ${name}`),
    ...trial.lostWorkers,
    ...twice.map(({ id, stages }) => `${id} completed a stage twice: ${stages.join(' ')}`),
  ];
}

/** Who proves an environment is whoever asks first; what is published is the same either way. */
const withoutProver = ({ recorded }: Trial): readonly string[] =>
  recorded.map((name) => name.replace(/^.*\/instances\/[^/]+\/((compare|health-full)\.)/, '*/$1')).sort();

function brief(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length <= 2_000 ? text : `${text.slice(0, 2_000)}…`;
}
