import parseDiff from 'parse-diff';

/** One file of a unified diff, reduced to what labelling asks about. */
export interface FileFacts {
  readonly path: string;
  /** Numbers of hunks, and of changed lines that are neither blank nor comment. */
  readonly hunks: readonly HunkFacts[];
  readonly added: readonly string[];
  readonly deleted: readonly string[];
  readonly context: readonly string[];
}

export interface HunkFacts {
  /** 1-based first line in the old file, and how many lines of it the hunk covers. */
  readonly oldStart: number;
  readonly oldLines: number;
  /** Added and deleted lines of substance. */
  readonly changedLines: number;
}

const isSubstance = (line: string): boolean => line.trim() !== '' && !line.trim().startsWith('#');

/** Reads a git diff. Binary files have no hunks. Never throws: text that is no diff has no files. */
export function patchFacts(patch: string): readonly FileFacts[] {
  return parseDiff(patch).map((file) => {
    const changes = file.chunks.flatMap((chunk) => chunk.changes);
    const text = (type: 'add' | 'del' | 'normal'): string[] =>
      changes.filter((change) => change.type === type).map((change) => change.content.slice(1));
    return {
      path: (file.to === undefined || file.to === '/dev/null' ? file.from : file.to) ?? '',
      hunks: file.chunks.map((chunk) => ({
        oldStart: chunk.oldStart,
        oldLines: chunk.oldLines,
        changedLines: chunk.changes.filter(
          (change) => change.type !== 'normal' && isSubstance(change.content.slice(1)),
        ).length,
      })),
      added: text('add'),
      deleted: text('del'),
      context: text('normal'),
    };
  });
}

/** Shannon entropy in bits of how changed lines spread over hunks: 0 for one place, log2(n) for n equal ones. */
export function changeEntropyBits(changedLines: readonly number[]): number {
  const total = changedLines.reduce((sum, lines) => sum + lines, 0);
  if (total === 0) return 0;
  return changedLines
    .filter((lines) => lines > 0)
    .reduce((sum, lines) => sum - (lines / total) * Math.log2(lines / total), 0);
}
