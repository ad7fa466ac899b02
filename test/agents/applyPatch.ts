import { parsePatch } from '../../src/agents/patchText.ts';

/** The lines of a file after the hunks that a patch has for it; throws where a hunk's lines are not there. */
export function applyPatch(lines: readonly string[], patch: string): readonly string[] {
  const result: string[] = [];
  let at = 0;
  for (const { oldStart, lines: hunk } of parsePatch(patch)[0]?.hunks ?? []) {
    result.push(...lines.slice(at, oldStart - 1));
    at = oldStart - 1;
    for (const line of hunk) {
      if (line.startsWith('+')) result.push(line.slice(1));
      else if (lines[at] !== line.slice(1)) throw new Error(`line ${at + 1} is not ${JSON.stringify(line)}`);
      else {
        at += 1;
        if (line.startsWith(' ')) result.push(line.slice(1));
      }
    }
  }
  return [...result, ...lines.slice(at)];
}
