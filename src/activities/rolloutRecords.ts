import type { PolicyCall, SampledChoice, Step } from '../domain/rl/trajectory.ts';
import type { RolloutInput } from '../domain/rl/messages.ts';
import { recordNames } from '../domain/records.ts';
import type { ArtefactRef } from '../domain/types.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';

/** A call as recorded: what the next turn needs of it, and where the rest is. */
export interface CallRecord {
  readonly schema: 1;
  readonly promptTokens: number | null;
  readonly choices: readonly (Pick<SampledChoice, 'text' | 'toolCalls' | 'finishReason'> & {
    readonly tokens: number | null;
  })[];
  readonly version: number | null;
  readonly call: ArtefactRef;
}

/** The change that an episode left. */
export interface PatchRecord {
  readonly schema: 1;
  readonly patch: ArtefactRef | null;
  readonly note: string;
}

export interface RecordDeps {
  readonly records: RecordStore;
  readonly store: ArtefactStore;
}

/** Records of one rollout; whoever writes first is believed. */
export interface RolloutRecords {
  readonly name: string;
  readCall(turn: number): Promise<CallRecord | null>;
  /** Returns the call that is recorded: this one, or the one that was there first. */
  recordCall(turn: number, call: PolicyCall): Promise<CallRecord>;
  readStep(turn: number): Promise<Step | null>;
  recordStep(turn: number, step: Step): Promise<{ readonly step: Step; readonly created: boolean }>;
  /** Turns before `end`, in order; those after the first that is not recorded are left out. */
  turns(end?: number): Promise<readonly { readonly call: CallRecord; readonly step: Step | null }[]>;
}

export const recordedName = ({
  run,
  group,
  members,
}: Pick<RolloutInput, 'run' | 'group' | 'members'>): string => recordNames.rollout(run, group, members);

export function rolloutRecords({ records, store }: RecordDeps, rollout: RolloutInput): RolloutRecords {
  const name = recordedName(rollout);
  const readCall = (turn: number): Promise<CallRecord | null> =>
    records.read<CallRecord>(recordNames.rolloutCall(name, turn));
  const readStep = (turn: number): Promise<Step | null> =>
    records.read<Step>(recordNames.rolloutStep(name, turn));
  return {
    name,
    readCall,
    readStep,
    async recordCall(turn, call) {
      const record: CallRecord = { ...briefly(call), call: await store.putJson(call) };
      return (await records.record(recordNames.rolloutCall(name, turn), record)).value;
    },
    async recordStep(turn, step) {
      const { value, created } = await records.record(recordNames.rolloutStep(name, turn), step);
      return { step: value, created };
    },
    async turns(end = Number.POSITIVE_INFINITY) {
      const found: { call: CallRecord; step: Step | null }[] = [];
      for (let turn = 0; turn < end; turn += 1) {
        const [call, step] = await Promise.all([readCall(turn), readStep(turn)]);
        if (call === null) break;
        found.push({ call, step });
      }
      return found;
    },
  };
}

function briefly(call: PolicyCall): Omit<CallRecord, 'call'> {
  const { promptTokenIds: ids, usage, choices, version } = call;
  const [only] = choices;
  const sampled = choices.length === 1 ? usage?.sampledTokens : undefined;
  return {
    schema: 1,
    promptTokens: ids.length > 0 ? ids.length : (usage?.promptTokens ?? null),
    choices: choices.map((choice) => ({
      text: choice.text,
      ...(choice.toolCalls === undefined ? {} : { toolCalls: choice.toolCalls }),
      finishReason: choice.finishReason,
      tokens:
        choice.tokenIds.length > 0 ? choice.tokenIds.length : choice === only ? (sampled ?? null) : null,
    })),
    version,
  };
}
