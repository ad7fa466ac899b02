/** A training run whose worker, trainer and policy server are killed at any moment, and what its journal says afterwards. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startRl, rlStatus, waitForRl } from '../../src/client/rl.ts';
import type { RlStartRequest } from '../../src/client/rl.ts';
import { drawsOf } from '../../src/domain/draws.ts';
import type { RlSummary } from '../../src/domain/rl/messages.ts';
import type { VllmProcess } from '../../src/policy/process.ts';
import { readRlLog } from '../../src/report/rlLog.ts';
import type { RlLog } from '../../src/report/rlLog.ts';
import type { Session } from '../../src/setup/session.ts';
import { createHttpTrainer } from '../../src/training/httpTrainer.ts';
import type { TrainerProcess } from '../../src/training/process.ts';

export const FAULT_KINDS = ['worker', 'trainer', 'server'] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface Fault {
  readonly kind: FaultKind;
  readonly afterMs: number;
  readonly step: number;
  /** What the trainer was at when it was killed; null when idle, or when another was killed. */
  readonly during: string | null;
}

/** What can be killed with SIGKILL and started again at the same address. */
export interface RlProcesses {
  readonly trainer: { current: TrainerProcess; start(port: number): Promise<TrainerProcess> };
  readonly server: { current: VllmProcess; start(port: number): Promise<VllmProcess> };
}

export interface RlFaultReport {
  readonly summary: RlSummary;
  readonly faults: readonly Fault[];
  /** What the journal and the log say that must not be; empty when all is well. */
  readonly problems: readonly string[];
  readonly samples: number;
  readonly seconds: number;
}

const PAUSE_MS = 6_000; // between the recovery from one fault and the next

/** Runs a training run in a worker process of its own under `faults` kills, drawn by seed: every kind in turn, at drawn moments. */
export async function trainUnderFaults(
  session: Session,
  processes: RlProcesses,
  request: RlStartRequest,
  options: { readonly faults: number; readonly seed: number; readonly say: (line: string) => void },
): Promise<RlFaultReport> {
  const context = { ...session, store: session.deps.store };
  const draws = drawsOf(`rl faults ${options.seed}`);
  const startedMs = Date.now();
  let worker = startWorker(session);
  const faults: Fault[] = [];
  await session.deps.leases.hold(() => startRl(context, request));
  const waiting = waitForRl(context, request.run);
  let over = false;
  void waiting.catch(() => undefined).finally(() => (over = true));
  const stepNow = async (): Promise<number> => (await rlStatus(context, request.run))?.progress?.step ?? -1;
  try {
    while (faults.length < options.faults && !over) {
      await untilStep(stepNow, () => over);
      await delay(draws() * 4_000);
      const kind = FAULT_KINDS[faults.length % FAULT_KINDS.length] ?? 'worker';
      const step = await stepNow();
      const during =
        kind === 'trainer' ? await untilBusy(processes.trainer.current.url, draws() < 0.7) : null;
      const fault: Fault = { kind, afterMs: Date.now() - startedMs, step, during };
      faults.push(fault);
      options.say(faultLine(fault, faults.length));
      if (kind === 'worker') {
        await killed(worker);
        worker = startWorker(session);
      } else if (kind === 'trainer') await restartTrainer(processes);
      else await restartServer(processes);
      await delay(PAUSE_MS * draws());
    }
    const summary = await waiting;
    return {
      summary,
      faults,
      ...(await problemsOf(session, processes, request, summary)),
      seconds: Math.round((Date.now() - startedMs) / 1_000),
    };
  } finally {
    await killed(worker);
  }
}

export const faultLine = ({ kind, afterMs, step, during }: Fault, number: number): string =>
  `fault ${number}: ${kind} killed at ${(afterMs / 1_000).toFixed(1)} s, step ${step}${during === null ? '' : `, during ${during}`}`;

function startWorker({ state, settings }: Session): ChildProcess {
  const root = join(import.meta.dirname, '..', '..');
  const log = openSync(join(state.dir, 'rl-worker.log'), 'a');
  const child = spawn(join(root, 'bin', 'repoforge.mjs'), ['worker', '--state', state.dir], {
    stdio: ['ignore', log, log],
    detached: true, // its group is killed as one
    env: { ...process.env, REPOFORGE_SANDBOX_SLOTS: String(settings.sandboxSlots) },
  });
  closeSync(log);
  return child;
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  process.kill(-child.pid, 'SIGKILL');
  await gone;
}

/** A fault hits a run that moves: the next one waits for a step after the last. */
async function untilStep(stepNow: () => Promise<number>, over: () => boolean): Promise<void> {
  let first: number | null = null;
  while (!over()) {
    const step = await stepNow();
    if (step >= 0) first ??= step;
    if (first !== null && step > first) return;
    await delay(200);
  }
}

const BUSY_WAIT_MS = 20_000;

/** Waits for the trainer to be in the midst of something, when asked to. */
async function untilBusy(url: string, wait: boolean): Promise<string | null> {
  const backend = createHttpTrainer({ url });
  const deadline = Date.now() + (wait ? BUSY_WAIT_MS : 0);
  for (;;) {
    const { busy } = await backend.health();
    if (busy !== null || Date.now() > deadline) return busy;
    await delay(3);
  }
}

const portOf = (url: string): number => Number(new URL(url).port);

async function restartTrainer({ trainer }: RlProcesses): Promise<void> {
  const { pid, url, ended } = trainer.current;
  process.kill(pid, 'SIGKILL');
  await ended;
  trainer.current = await trainer.start(portOf(url));
}

async function restartServer({ server }: RlProcesses): Promise<void> {
  const { pid, address, ended } = server.current;
  process.kill(-pid, 'SIGKILL');
  await ended;
  server.current = await server.start(portOf(address));
}

/** Steps without a gap, every sample once, tokens as in the batches, versions as deployed, and the log as the journal has it. */
async function problemsOf(
  session: Session,
  { trainer }: RlProcesses,
  request: RlStartRequest,
  summary: RlSummary,
): Promise<Pick<RlFaultReport, 'problems' | 'samples'>> {
  const problems: string[] = [];
  const { run, options } = request;
  const log = await readRlLog(session.records, run);
  const journal = await createHttpTrainer({ url: trainer.current.url }).journal(run);
  const steps = journal.map(({ step }) => step);
  const expected = Array.from({ length: options.steps }, (_none, at) => at + 1);
  if (JSON.stringify(steps) !== JSON.stringify(expected))
    problems.push(`the journal has steps ${steps.join(', ')}`);
  const tokens = journal.find(({ step, metrics }) => {
    const told = log.entries.find((entry) => entry.step.step === step);
    return told !== undefined && told.step.tokens !== metrics['tokens'];
  });
  if (tokens !== undefined) problems.push(`step ${tokens.step} was not trained on the tokens of its batch`);
  problems.push(...(await versionProblems(session, request, log)));
  const samples = journal.flatMap(({ sampleIds }) => sampleIds);
  const twice = samples.filter((id, at) => samples.indexOf(id) !== at);
  if (twice.length > 0) problems.push(`${twice.length} samples were trained twice, e.g. ${twice[0]}`);
  if (log.missing.length > 0) problems.push(`the log lacks steps ${log.missing.join(', ')}`);
  const stale = Math.max(...log.entries.map(({ step }) => step.staleness.max));
  if (stale > options.maxStaleness) problems.push(`tokens were ${stale} versions old`);
  if (summary.state !== 'done') problems.push(`the run ended ${summary.state}: ${summary.note}`);
  const left = await session.deps.driver.list(session.state.installation);
  if (left.length > 0) problems.push(`${left.length} containers are left`);
  return { problems, samples: samples.length };
}

/** No answer came from a version that was not there yet, and the last one was deployed. */
async function versionProblems(
  { deps }: Session,
  { run, options, servers }: RlStartRequest,
  { entries }: RlLog,
): Promise<readonly string[]> {
  const ahead = entries.flatMap(({ step, rollouts }) =>
    rollouts.flatMap(({ calls }) => calls.filter(({ version }) => (version ?? 0) >= step.step)),
  );
  const newest = (await deps.policy.newest(run, servers))?.version ?? null;
  return [
    ...(ahead.length === 0 ? [] : [`${ahead.length} answers are of versions that were not there yet`]),
    ...(newest === options.steps ? [] : [`servers have version ${newest}, not ${options.steps}`]),
  ];
}
