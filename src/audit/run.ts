/** Runs attacks on rows: gold must score 1, every attack 0 with a verdict that fits it. */
import pLimit from 'p-limit';
import type { ArtefactRef, EnvironmentSpec, InstanceRow } from '../domain/types.ts';
import type { RunRecord } from '../domain/runs.ts';
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
  /** Containers at once. */
  readonly slots: number;
  /** Of this audit: its runs are executed, never served, and served to nobody. */
  readonly repetition: number;
  readonly context: WorkContext;
  readonly onProgress?: (step: AuditProgress) => void;
}

type Audited = InputRow & { readonly facts: AuditFacts };
type InputRow = AuditInput['rows'][number];

/** Runs gold and every attack on every row. Throws only for what infrastructure did before the first run. */
export async function runAudit(deps: AuditDeps, input: AuditInput): Promise<AuditReport> {
  const rows: readonly Audited[] = await Promise.all(
    input.rows.map(async (one) => ({ ...one, facts: await readFacts(deps, one.row) })),
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
  return {
    attacks,
    gold,
    not_applicable: results.flatMap((result) => ('verdict' in result ? [] : [result])),
    held: attacks.every(({ held }) => held) && gold.every(({ reward }) => reward === 1),
  };
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
  const said = (
    verdict: VerdictName,
    reward: number | null,
    reached: boolean,
    note: string,
  ): AuditedAttack => ({
    ...names,
    verdict,
    reward,
    expected: attack.expected,
    held: reward === 0 && attack.expected.includes(verdict) && !reached,
    note,
  });
  const made: Made | { readonly failed: string } =
    attack.kind === 'prediction'
      ? { patch: attack.patch(one.facts), reached: false, note: '' }
      : await agentPatch(deps, input, one, attack).catch((error: unknown) => ({ failed: String(error) }));
  if ('failed' in made) return said('infra', null, false, made.failed);
  if (made.patch === null) return names;
  if (made.unreadable === true) return said('patch_failed', 0, made.reached, made.note);
  const evaluated = await evaluate(deps, input, one, await predicted(deps, made.patch), attack.name);
  if ('failed' in evaluated) return said('infra', null, false, evaluated.failed);
  const { grade, record: ref } = evaluated.result;
  const record = ref === null ? null : await deps.store.getJson<RunRecord>(ref);
  const reached = made.reached || record?.exitCode === REACHED;
  return said(grade.verdict.verdict, grade.resolved, reached, made.note || (record?.note ?? ''));
}

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
