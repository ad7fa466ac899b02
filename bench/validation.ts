import type { Rows } from '../src/cli/rows.ts';
import type { Evidence } from '../src/domain/evidence.ts';
import { workflowIds } from '../src/domain/ids.ts';
import { DEFAULT_CAMPAIGN_OPTIONS } from '../src/domain/campaign.ts';
import { WORKFLOWS, scopedWorkflowId, taskQueue } from '../src/domain/messages.ts';
import type { InstanceInput, InstanceResult } from '../src/domain/messages.ts';
import { recordNames, type StageRecord } from '../src/domain/records.ts';
import type { InstanceRow } from '../src/domain/types.ts';
import type { RunRecord } from '../src/domain/runs.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { openSession, type Session } from '../src/setup/session.ts';
import { machineLine, median, type BenchReport } from './report.ts';
import { createScratchState } from './scratchState.ts';
import { ratio, sum, warmUp } from './support.ts';

/** One candidate from resolution to publication, alone on the machine. */
interface Validated {
  readonly instance: string;
  readonly wallMs: number;
  readonly runs: number;
  /** Times of the phases over all of its container runs. */
  readonly phases: Readonly<Record<string, number>>;
  /** Durations of the stages that are no container runs. */
  readonly stages: Readonly<Record<string, number>>;
}

/**
 * Validation of published candidates anew, one at a time, by their instance workflow as a campaign runs it (its two runs
 * of a pair go side by side), against the time of the tests in its container runs. Environments and installs of bases are
 * warm, as they are for all but the first instance of a key; no stage, run or verdict is taken from the record.
 */
export async function benchValidation(
  deps: Dependencies,
  rows: Rows,
  { runs: rounds }: { readonly runs: number },
): Promise<BenchReport> {
  await warmUp(deps, rows);
  const anew = ['campaigns', 'evaluations', 'provers', 'runs'];
  await using scratch = await createScratchState(deps.state, anew);
  const { queuePrefix } = scratch;
  const session = await openSession({
    // labels of a bench cost nobody money
    settings: { ...deps.settings, stateDir: scratch.state.dir, queuePrefix, labelModel: null },
    log: deps.log,
    say: (line) => void process.stderr.write(`${line}\n`),
  });
  // each key's pruning was proven by its first instance: not these
  for (const { environment } of rows.rows)
    await session.records.record(recordNames.prover(environment.key), { instanceId: '', asker: 'nobody' });
  const validated: Validated[] = [];
  try {
    const workers = await session.startWorkers(['control', 'sandbox', 'llm']);
    try {
      for (let round = 1; round <= rounds; round += 1)
        for (const row of rows.rows) validated.push(await validate(session, row, `round-${round}`));
    } finally {
      await workers.stop();
    }
  } finally {
    await session.close();
  }
  return reportOf(validated);
}

async function validate(session: Session, row: InstanceRow, campaign: string): Promise<Validated> {
  const { queuePrefix, records, client, deps } = session;
  const input: InstanceInput = {
    campaign,
    campaignWorkflowId: scopedWorkflowId(queuePrefix, workflowIds.campaign(campaign)), // there is none; a report to it is lost
    queuePrefix,
    instanceId: row.instance_id,
    repo: row.repo,
    candidate: row.candidate,
    options: {
      passToPassBudgetMs: DEFAULT_CAMPAIGN_OPTIONS.passToPassBudgetMs,
      runLimits: row.limits,
      runtimes: [row.environment.runtime_version],
    },
  };
  const startedMs = performance.now();
  const result = (await client.workflow.execute(WORKFLOWS.instance, {
    workflowId: scopedWorkflowId(queuePrefix, workflowIds.instance(campaign, row.instance_id)),
    taskQueue: taskQueue(queuePrefix, 'control'),
    args: [input],
  })) as InstanceResult;
  const wallMs = Math.round(performance.now() - startedMs);
  if (result.outcome !== 'published')
    throw new Error(`${row.instance_id} was published once and is ${JSON.stringify(result)} now`);
  const evidence = await deps.store.getJson<Evidence>(result.evidence);
  const durations = await Promise.all(
    evidence.runs.map(async ({ record }) => (await deps.store.getJson<RunRecord>(record)).durations),
  );
  const phases = Object.keys(durations[0] ?? {}) as (keyof RunRecord['durations'])[];
  const ran = new Set(evidence.runs.map(({ name }) => name));
  const stages: Record<string, number> = {};
  for (const name of await records.list(recordNames.instance(campaign, row.instance_id))) {
    const stage = name.slice(name.lastIndexOf('/') + 1).split('.')[0] ?? '';
    const record =
      stage === 'result' || ran.has(stage) ? null : await records.read<StageRecord<unknown>>(name);
    if (record !== null) stages[stage] = (stages[stage] ?? 0) + record.durationMs;
  }
  return {
    instance: row.instance_id,
    wallMs,
    runs: durations.length,
    phases: Object.fromEntries(
      phases.map((phase) => [phase, sum(durations.map((one) => Number(one[phase])))]),
    ),
    stages,
  };
}

function reportOf(validated: readonly Validated[]): BenchReport {
  const p50 = (of: (one: Validated) => number): number | null => median(validated.map(of));
  const tests = ({ phases }: Validated): number => phases['testsMs'] ?? 0;
  const names = (of: (one: Validated) => object): readonly string[] => [
    ...new Set(validated.flatMap((one) => Object.keys(of(one)))),
  ];
  const figure = p50((one) => ratio(one.wallMs, tests(one)) ?? 0);
  return {
    bench: 'validation',
    figure,
    unit: '× the time of its tests',
    what: 'median over instances: wall time of the instance workflow (resolve, environment, leak scan, health, three runs without and three with gold, decisions, canaries, label, publish), alone, environment warm, ÷ time of the test processes of all its container runs; the two runs of a pair go side by side',
    target: 'none published',
    machine: machineLine(),
    runs: validated.map(({ instance, wallMs, runs, phases, stages }) => ({
      instance,
      wallMs,
      runs,
      ...phases,
      ...stages,
    })),
    more: {
      instances: new Set(validated.map(({ instance }) => instance)).size,
      validation_ms_p50: p50(({ wallMs }) => wallMs),
      tests_ms_p50: p50(tests),
      ratio: figure,
      container_runs_p50: p50(({ runs }) => runs),
      ...Object.fromEntries(
        names(({ phases }) => phases).map((name) => [
          `runs_${name.replace(/Ms$/, '')}_ms_p50`,
          p50(({ phases }) => phases[name] ?? 0),
        ]),
      ),
      ...Object.fromEntries(
        names(({ stages }) => stages).map((name) => [
          `stage_${name}_ms_p50`,
          p50(({ stages }) => stages[name] ?? 0),
        ]),
      ),
    },
  };
}
