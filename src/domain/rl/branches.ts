import type { PolicyCall, SampledChoice } from './trajectory.ts';

/** Turns of an episode joined to the contexts that the policy saw, token by token. Pure. */

export interface Turn {
  readonly call: PolicyCall;
  readonly answer: SampledChoice;
}

/** Turns of one unbroken context. */
export interface JoinedTurns {
  readonly tokenIds: readonly number[];
  /** `at`: place of the answer's first token. */
  readonly turns: readonly (Turn & { readonly at: number })[];
}

/**
 * Turns are one branch as long as each prompt extends exactly what came before (prompt and answer); where it does not
 * (a template that rewrites history, a tokenizer that merges otherwise) a new branch begins: a fork. Turns without an answer's
 * tokens are left out.
 */
export function joinTurns(turns: readonly Turn[]): readonly JoinedTurns[] {
  const branches: { tokenIds: number[]; turns: (Turn & { at: number })[] }[] = [];
  for (const { call, answer } of turns) {
    if (answer.tokenIds.length === 0) continue;
    const last = branches.at(-1);
    const extended = last !== undefined && extendsExactly(call.promptTokenIds, last.tokenIds);
    const branch = extended ? last : { tokenIds: [], turns: [] };
    if (!extended) branches.push(branch);
    for (const token of call.promptTokenIds.slice(branch.tokenIds.length)) branch.tokenIds.push(token);
    branch.turns.push({ call, answer, at: branch.tokenIds.length });
    for (const token of answer.tokenIds) branch.tokenIds.push(token);
  }
  return branches;
}

const extendsExactly = (prompt: readonly number[], before: readonly number[]): boolean =>
  prompt.length >= before.length && before.every((token, index) => prompt[index] === token);
