import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import type { Rows } from '../src/cli/rows.ts';
import type { RunRecord } from '../src/domain/runs.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { createOwnCommand, type CommandRun, type OwnCommand } from './ownCommand.ts';
import { agreementOf, openSwebenchGold, type Agreement, type SwebenchGold } from './peer/goldBySwebench.ts';
import { machineLine, median, type BenchReport } from './report.ts';
import { benchContext, ratio, sum, warmUp } from './support.ts';

export interface EvaluationBenchOptions {
  readonly campaign: string;
  /** Rounds; every figure is the median over them. */
  readonly runs: number;
  readonly slots?: number;
  /** `none` leaves the official harness out. */
  readonly peer: 'all' | 'none';
}

/** Slots at which the wall time is taken, for the parallel efficiency. */
const SLOTS = [1, 2, 4] as const;

/** One evaluation of gold, alone on the machine. */
interface Alone {
  readonly instance: string;
  readonly wallMs: number;
  readonly verdict: string;
  readonly durations: RunRecord['durations'];
}

interface Round {
  /** Canaries planted, as every evaluation is done. */
  readonly alone: readonly Alone[];
  /** Wall time of all of them by slots. */
  readonly wallMs: ReadonlyMap<number, number>;
  /** The tests of each instance without canaries, alone. */
  readonly testsMs: readonly number[];
  readonly ours: CommandRun;
  readonly theirs: CommandRun | null;
}

/**
 * Evaluation of gold on our normal path (canaries, isolation, no verdict served), three ways in every round: in this
 * process, one at a time and at 1, 2 and 4 slots; by `repoforge evaluate`, through Temporal, as a process; and, before or
 * after that in turn, by the official harness on the same instances and slots.
 */
export async function benchEvaluation(
  deps: Dependencies,
  rows: Rows,
  options: EvaluationBenchOptions,
): Promise<BenchReport> {
  const slots = options.slots ?? availableParallelism();
  await warmUp(deps, rows);
  await using command = await createOwnCommand(deps.state);
  await using peer = options.peer === 'none' ? null : await openSwebenchGold(deps, rows);
  // the Temporal server and the page cache as in a run that goes on
  await command.evaluateGold(askFor(rows, options, slots));
  const rounds: Round[] = [];
  for (let round = 1; round <= options.runs; round += 1)
    rounds.push(await measureRound(deps, rows, options, { slots, round, command, peer }));
  const last = rounds.at(-1);
  const agreement =
    last === undefined || last.theirs === null ? null : await agreementOf(deps, rows, last.ours, last.theirs);
  return reportOf(rows, rounds, slots, agreement, peer);
}

const askFor = ({ rows }: Rows, { campaign }: EvaluationBenchOptions, slots: number) => ({
  dataset: campaign,
  ids: rows.map(({ instance_id: id }) => id),
  slots,
});

async function measureRound(
  deps: Dependencies,
  rows: Rows,
  options: EvaluationBenchOptions,
  at: {
    readonly slots: number;
    readonly round: number;
    readonly command: OwnCommand;
    readonly peer: SwebenchGold | null;
  },
): Promise<Round> {
  const { slots, round, command, peer } = at;
  const wallMs = new Map<number, number>();
  let alone: readonly Alone[] = [];
  for (const limit of new Set([...SLOTS, slots])) {
    const startedMs = performance.now();
    const done = await evaluateAll(deps, rows, limit, round, true);
    wallMs.set(limit, Math.round(performance.now() - startedMs));
    if (limit === 1) alone = done;
  }
  const bare = await evaluateAll(deps, rows, 1, round, false);
  const byUs = () => command.evaluateGold(askFor(rows, options, slots));
  const byPeer = async () => (peer === null ? null : peer.evaluateGold(slots));
  const first = round % 2 === 1 ? await byUs() : null;
  const theirs = await byPeer();
  return {
    alone,
    wallMs,
    testsMs: bare.map(({ durations }) => durations.testsMs),
    ours: first ?? (await byUs()),
    theirs,
  };
}

function evaluateAll(
  deps: Dependencies,
  rows: Rows,
  slots: number,
  round: number,
  canaries: boolean,
): Promise<readonly Alone[]> {
  const limit = pLimit(slots);
  const evaluate = async (row: Rows['rows'][number]): Promise<Alone> => {
    const startedMs = performance.now();
    const { result } = await deps.evaluator.evaluate({
      row,
      patch: 'gold',
      modelNameOrPath: 'gold',
      repetition: round,
      provenCanaries: canaries ? rows.provenCanaries(row.instance_id) : null,
      context: benchContext(deps),
    });
    const wallMs = Math.round(performance.now() - startedMs);
    if (result.record === null) throw new Error(`${row.instance_id} left no record`);
    const { durations } = await deps.store.getJson<RunRecord>(result.record);
    return { instance: row.instance_id, wallMs, verdict: result.grade.verdict.verdict, durations };
  };
  return Promise.all(rows.rows.map((row) => limit(() => evaluate(row))));
}

function reportOf(
  { rows }: Rows,
  rounds: readonly Round[],
  slots: number,
  agreement: Agreement | null,
  peer: SwebenchGold | null,
): BenchReport {
  const alone = rounds.flatMap((round) => round.alone);
  const tests = rows.map((_row, index) => median(rounds.flatMap(({ testsMs }) => testsMs[index] ?? [])) ?? 0);
  const limitMs = Math.round(Math.max(...tests, sum(tests) / slots));
  const oursMs = median(rounds.map(({ ours }) => ours.wallMs));
  const theirsMs = median(rounds.flatMap(({ theirs }) => theirs?.wallMs ?? []));
  const processMs = median(rounds.map(({ wallMs }) => wallMs.get(slots) ?? 0));
  const overheadMs = median(alone.map(({ wallMs, durations }) => wallMs - durations.testsMs));
  return {
    bench: 'evaluation',
    figure: overheadMs,
    unit: 'ms',
    what: 'overhead_ms_p50: median over evaluations of gold of wall time less the time of the test process; in this process, one at a time. ratio_vs_swebench and ratio_vs_limit: wall time of the whole command `repoforge evaluate --gold -j slots` (process start, Temporal, reports), against `swebench eval --gold -j slots` and against limit_ms = max(longest test, sum of tests ÷ slots), tests without canaries taken alone. in_process: evaluations only, without command and Temporal',
    target: 'overhead <= 1000 ms, ratio_vs_swebench <= 0.25, ratio_vs_limit <= 1.3',
    machine: machineLine(),
    runs: alone.map(({ instance, verdict, wallMs, durations }) => ({
      instance,
      verdict,
      wallMs,
      overheadMs: wallMs - durations.testsMs,
      ...durations,
    })),
    more: {
      instances: rows.length,
      rounds: rounds.length,
      slots,
      resolved: alone.filter(({ verdict }) => verdict === 'resolved').length,
      ratio_vs_swebench: ratio(oursMs, theirsMs),
      ratio_vs_limit: ratio(oursMs, limitMs),
      ratio_vs_limit_in_process: ratio(processMs, limitMs),
      overhead_ms_p50: overheadMs,
      command_wall_ms: oursMs,
      swebench_wall_ms: theirsMs,
      in_process_wall_ms: processMs,
      limit_ms: limitMs,
      tests_ms_sum: Math.round(sum(tests)),
      tests_ms_longest: Math.round(Math.max(...tests)),
      agree: agreement?.agree ?? null,
      agreed_tests: agreement?.tests ?? null,
      disagreements: agreement === null ? null : agreement.disagreements.join('; '),
      tests_unnamed_by_swebench: peer?.unnamed ?? null,
      ...phasesOf(alone, tests),
      ...efficiencyOf(rounds),
    },
  };
}

/** Median time of each part of one evaluation; their sum is about the median wall time. */
function phasesOf(
  alone: readonly Alone[],
  bareTestsMs: readonly number[],
): Readonly<Record<string, number | null>> {
  const names = Object.keys(alone[0]?.durations ?? {}).filter((name) => name !== 'totalMs');
  const p50 = (of: (one: Alone) => number): number | null => median(alone.map(of));
  const phases = names.map((name) => [
    `${name.replace(/Ms$/, '')}_ms_p50`,
    p50(({ durations }) => Number(durations[name as keyof RunRecord['durations']])),
  ]);
  return {
    wall_ms_p50: p50(({ wallMs }) => wallMs),
    ...Object.fromEntries(phases),
    outside_run_ms_p50: p50(({ wallMs, durations }) => wallMs - durations.totalMs),
    tests_without_canaries_ms_p50: median(bareTestsMs),
  };
}

/** Wall at one slot ÷ (slots that can work at once × wall at so many slots): four slots on two cores can do two. */
function efficiencyOf(rounds: readonly Round[]): Readonly<Record<string, number | null>> {
  const wall = (slots: number): number | null =>
    median(rounds.flatMap(({ wallMs }) => wallMs.get(slots) ?? []));
  return Object.fromEntries(
    SLOTS.flatMap((slots) => {
      const usable = Math.min(slots, availableParallelism());
      return [
        [`in_process_wall_ms_${slots}_slots`, wall(slots)],
        [`parallel_efficiency_${slots}`, ratio(wall(1), (wall(slots) ?? 0) * usable)],
      ];
    }),
  );
}
