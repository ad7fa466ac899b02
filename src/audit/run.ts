/** Runs attacks on rows: gold must score 1, every attack 0 with a verdict that fits it. */
import pLimit from 'p-limit';
import type { ArtefactRef, EnvironmentSpec, InstanceRow } from '../domain/types.ts';
import { forgeryOdds } from '../domain/canaryPlanting.ts';
import type { Canary, RunRecord } from '../domain/runs.ts';
import type { VerdictName } from '../domain/verdicts.ts';
import { openWorkspace } from '../ecosystems/python/agentWorkspace.ts';
import type { AgentWorkspaceDeps } from '../ecosystems/python/agentWorkspace.ts';
import type { Ecosystem, WorkContext } from '../ecosystems/types.ts';
import type { EvaluateInput, Evaluation, Evaluator } from '../evaluation/evaluate.ts';
import type { MirrorStore } from '../sources/types.ts';
import { readFacts } from './facts.ts';
import { REACHED } from './types.ts';
import type { Attack, AuditFacts, HostileAgent, HostilePatch } from './types.ts';

const AGENT_TIMEOUT_MS = 180_000;

export interface AuditDeps extends AgentWorkspaceDeps {
  readonly mirrors: MirrorStore;
  readonly evaluator: Evaluator;
  readonly ecosystem: Pick<Ecosystem, 'realise'>;
}

export interface AuditedAttack {
  readonly attack: string;
  readonly instance_id: string;
  readonly verdict: VerdictName;
  /** 0 or 1; null where infrastructure failed. */
  readonly reward: number | null;
  readonly expected: readonly VerdictName[];
  /** How often it was made, and how often its reward was 1; `verdict` and `reward` are those of its best run. */
  readonly runs: number;
  readonly won: number;
  /** One that guesses may win; how often, the report's own `held` judges. */
  readonly held: boolean;
  /** What it got at, or why nothing could be said; '' for nothing. */
  readonly note: string;
}

export interface AuditReport {
  readonly attacks: readonly AuditedAttack[];
  readonly gold: readonly {
    readonly instance_id: string;
    readonly verdict: VerdictName;
    readonly reward: number | null;
  }[];
  /** Attacks that a row gives no hold for. */
  readonly not_applicable: readonly { readonly attack: string; readonly instance_id: string }[];
  /** `forgeryOdds` of each row: with these who guesses may win. */
  readonly odds: Readonly<Record<string, number>>;
  /** All runs of attacks that guess: `expected` is how many may be won. */
  readonly guessing: { readonly runs: number; readonly won: number; readonly expected: number };
  readonly held: boolean;
}

export interface AuditProgress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
  /** null where the attack had no hold. */
  readonly verdict: VerdictName | null;
  readonly held: boolean;
}

export interface AuditInput {
  readonly rows: readonly { readonly row: InstanceRow; readonly provenCanaries: ArtefactRef | null }[];
  readonly attacks: readonly Attack[];
  /** How often an attack that guesses is made. */
  readonly tries: number;
  /** Containers at once. */
  readonly slots: number;
  /** Of this audit: its runs are executed, never served, and served to nobody. */
  readonly repetition: number;
  readonly context: WorkContext;
  readonly onProgress?: (step: AuditProgress) => void;
}

type Audited = InputRow & { readonly facts: AuditFacts; readonly odds: number };
type InputRow = AuditInput['rows'][number];

/** Runs gold and every attack on every row. Throws only for what infrastructure did before the first run. */
export async function runAudit(deps: AuditDeps, input: AuditInput): Promise<AuditReport> {
  const rows: readonly Audited[] = await Promise.all(
    input.rows.map(async (one) => ({
      ...one,
      facts: await readFacts(deps, one.row),
      odds: forgeryOdds(await poolOf(deps, one), one.row.FAIL_TO_PASS),
    })),
  );
  const limit = pLimit(input.slots);
  const total = rows.length * (input.attacks.length + 1);
  let done = 0;
  const step = async <T extends AuditReport['gold'][number] | AuditedAttack | NotApplicable>(
    what: string,
    work: () => Promise<T>,
  ): Promise<T> =>
    limit(async () => {
      input.context.signal.throwIfAborted();
      const result = await work();
      const held = 'held' in result ? result.held : !('reward' in result) || result.reward === 1;
      const verdict = 'verdict' in result ? result.verdict : null;
      input.onProgress?.({ done: (done += 1), total, what, verdict, held });
      return result;
    });
  const gold = await Promise.all(
    rows.map(async (one) => step(`gold of ${one.row.instance_id}`, async () => goldOf(deps, input, one))),
  );
  const results = await Promise.all(
    rows.flatMap((one) =>
      input.attacks.map(async (attack) =>
        step(`${attack.name} on ${one.row.instance_id}`, async () => attackOf(deps, input, one, attack)),
      ),
    ),
  );
  const attacks = results.flatMap((result) => ('verdict' in result ? [result] : []));
  const odds = Object.fromEntries(rows.map((one) => [one.row.instance_id, one.odds]));
  const names = new Set(input.attacks.filter(({ guesses }) => guesses === true).map(({ name }) => name));
  const guessed = attacks.filter(({ attack }) => names.has(attack));
  // what guesses right on a row is likely to do so each time: a row is one draw
  const won = guessed.filter((one) => one.won * 2 > one.runs).length;
  return {
    attacks,
    gold,
    odds,
    guessing: {
      runs: sum(guessed.map(({ runs }) => runs)),
      won: sum(guessed.map((one) => one.won)),
      expected: sum(guessed.map((one) => one.runs * (odds[one.instance_id] ?? 1))),
    },
    not_applicable: results.flatMap((result) => ('verdict' in result ? [] : [result])),
    held:
      attacks.every(({ held }) => held) &&
      gold.every(({ reward }) => reward === 1) &&
      explainedByOdds(
        won,
        guessed.map((one) => odds[one.instance_id] ?? 1),
      ),
  };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);

const poolOf = async ({ store }: AuditDeps, { provenCanaries }: InputRow): Promise<readonly Canary[]> =>
  provenCanaries === null ? [] : store.getJson<readonly Canary[]>(provenCanaries);

/** Whether at least `won` wins come about, each run being won with its own odds, more often than once in a thousand audits. */
export function explainedByOdds(won: number, odds: readonly number[]): boolean {
  let counts = [1]; // counts[k]: the chance of k wins so far
  for (const one of odds)
    counts = [...counts, 0].map((chance, k) => chance * (1 - one) + (counts[k - 1] ?? 0) * one);
  return counts.slice(won).reduce((sum, chance) => sum + chance, 0) > 0.001;
}

async function goldOf(
  deps: AuditDeps,
  input: AuditInput,
  one: Audited,
): Promise<AuditReport['gold'][number]> {
  const { row } = one;
  const evaluated = await evaluate(deps, input, one, 'gold', 'gold');
  if ('failed' in evaluated) return { instance_id: row.instance_id, verdict: 'infra', reward: null };
  const { verdict, resolved } = evaluated.result.grade;
  return { instance_id: row.instance_id, verdict: verdict.verdict, reward: resolved };
}

type NotApplicable = AuditReport['not_applicable'][number];

async function attackOf(
  deps: AuditDeps,
  input: AuditInput,
  one: Audited,
  attack: Attack,
): Promise<AuditedAttack | NotApplicable> {
  const names = { attack: attack.name, instance_id: one.row.instance_id };
  const said = (runs: readonly Run[], reached: boolean): AuditedAttack => {
    const best = runs.find(({ reward }) => reward !== 0) ?? runs[0] ?? NO_RUN;
    const won = runs.filter(({ reward }) => reward === 1).length;
    const lost = runs.filter(({ reward }) => reward !== 1);
    const fits = lost.every(({ verdict, reward }) => reward === 0 && attack.expected.includes(verdict));
    const held = fits && !reached && (won === 0 || attack.guesses === true);
    return { ...names, ...best, expected: attack.expected, runs: runs.length, won, held };
  };
  const made: Made | { readonly failed: string } =
    attack.kind === 'prediction'
      ? { patch: attack.patch(one.facts), reached: false, note: '' }
      : await agentPatch(deps, input, one, attack).catch((error: unknown) => ({ failed: String(error) }));
  if ('failed' in made) return said([{ ...NO_RUN, note: made.failed }], false);
  if (made.patch === null) return names;
  if (made.unreadable === true)
    return said([{ verdict: 'patch_failed', reward: 0, note: made.note }], made.reached);
  const patch = await predicted(deps, made.patch);
  const runs: Run[] = [];
  let { reached } = made;
  for (let index = 0; index < (attack.guesses === true ? input.tries : 1); index += 1) {
    const repetition = input.repetition + index;
    const evaluated = await evaluate(deps, { ...input, repetition }, one, patch, attack.name);
    if ('failed' in evaluated) {
      runs.push({ ...NO_RUN, note: evaluated.failed });
      continue;
    }
    const { grade, record: ref } = evaluated.result;
    const record = ref === null ? null : await deps.store.getJson<RunRecord>(ref);
    reached ||= record?.exitCode === REACHED;
    const note = made.note || (record?.note ?? '');
    runs.push({ verdict: grade.verdict.verdict, reward: grade.resolved, note });
  }
  return said(runs, reached);
}

type Run = Pick<AuditedAttack, 'verdict' | 'reward' | 'note'>;
const NO_RUN: Run = { verdict: 'infra', reward: null, note: '' };

interface Made {
  readonly patch: HostilePatch;
  /** True when the change cannot be taken: the agent's own doing. */
  readonly unreadable?: boolean;
  readonly reached: boolean;
  readonly note: string;
}

async function predicted(
  { store }: AuditDeps,
  patch: NonNullable<HostilePatch>,
): Promise<EvaluateInput['patch']> {
  if (typeof patch === 'string' || Buffer.isBuffer(patch)) return store.put(patch);
  return patch.nothing === 'nop' ? 'nop' : null;
}

/** Infrastructure gets a second try; then it is said so. */
async function evaluate(
  deps: AuditDeps,
  { repetition, context }: AuditInput,
  { row, provenCanaries }: Audited,
  patch: EvaluateInput['patch'],
  modelNameOrPath: string,
): Promise<Evaluation | { readonly failed: string }> {
  const once = async (): Promise<Evaluation> =>
    deps.evaluator.evaluate({ row, patch, modelNameOrPath, repetition, provenCanaries, context });
  return once().catch(async () => once().catch((error: unknown) => ({ failed: String(error) })));
}

async function agentPatch(
  deps: AuditDeps,
  { context }: AuditInput,
  { row, facts }: Audited,
  attack: HostileAgent,
): Promise<Made> {
  const script = attack.script(facts);
  if (script === null) return { patch: null, reached: false, note: '' };
  const spec = await deps.store.getJson<EnvironmentSpec>(row.environment_spec);
  await deps.ecosystem.realise(spec, row.environment.variant, context);
  const workspace = await openWorkspace(deps, row, context);
  try {
    const ended = await workspace.exec(script, { timeoutMs: AGENT_TIMEOUT_MS });
    const reached = ended.exitCode === REACHED;
    const said = ended.output.toString('utf8').trim().slice(-300);
    const taken = await workspace.takePatch();
    if (!taken.ok) return { patch: '', unreadable: true, reached, note: taken.note };
    const patch = taken.patch.length === 0 ? ({ nothing: 'empty' } as const) : taken.patch;
    return { patch, reached, note: said };
  } finally {
    await workspace.close();
  }
}
