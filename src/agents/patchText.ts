/** Unified diffs as files, hunks and lines: taken apart, changed and put together again. Pure. */

export interface PatchHunk {
  /** 1-based first line in the old file. */
  readonly oldStart: number;
  /** With their sign; `\ No newline at end of file` is a line, too. */
  readonly lines: readonly string[];
}

export interface PatchFile {
  /** `diff --git` to `+++`, as they stand. */
  readonly header: readonly string[];
  readonly path: string;
  readonly hunks: readonly PatchHunk[];
}

const HUNK = /^@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@/;

/** Takes a git diff apart. Throws when a hunk is shorter than it says. Files without hunks (modes, binaries) have none. */
export function parsePatch(patch: string): readonly PatchFile[] {
  const files: { header: string[]; path: string; hunks: { oldStart: number; lines: string[] }[] }[] = [];
  const lines = patch.replace(/\n$/, '').split('\n');
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    const hunk = HUNK.exec(line);
    const file = files.at(-1);
    if (hunk !== null && file !== undefined) {
      const body = hunkBody(lines, at + 1, Number(hunk[2] ?? 1), Number(hunk[3] ?? 1));
      file.hunks.push({ oldStart: Number(hunk[1]), lines: body });
      at += body.length;
    } else if (line.startsWith('diff --git ') || file === undefined || startsFile(lines, at, file)) {
      files.push({ header: [line], path: pathOf(line), hunks: [] });
    } else {
      file.header.push(line);
      if (line.startsWith('+++ ') && line !== '+++ /dev/null') file.path = pathOf(line);
    }
  }
  return files.filter(({ header }) => header.some((line) => /^(diff --git|---) /.test(line)));
}

/** A plain `---` without `diff --git` before it, after the hunks of another file. */
const startsFile = (
  lines: readonly string[],
  at: number,
  file: { readonly hunks: readonly unknown[] },
): boolean =>
  file.hunks.length > 0 &&
  lines[at]?.startsWith('--- ') === true &&
  lines[at + 1]?.startsWith('+++ ') === true;

function hunkBody(lines: readonly string[], from: number, oldCount: number, newCount: number): string[] {
  const body: string[] = [];
  let [old, added] = [oldCount, newCount];
  for (let at = from; at < lines.length; at++) {
    const line = lines[at] ?? '';
    if (line.startsWith('\\')) {
      body.push(line);
      continue;
    }
    if (old === 0 && added === 0) return body;
    if (!line.startsWith('+')) old -= 1;
    if (!line.startsWith('-')) added -= 1;
    body.push(line === '' ? ' ' : line);
  }
  if (old !== 0 || added !== 0) throw new Error('The patch ends in the middle of a hunk.');
  return body;
}

function pathOf(line: string): string {
  const text = /^(?:diff --git .* b\/|\+\+\+ b\/|--- a\/|\+\+\+ |--- )(.*)$/.exec(line)?.[1] ?? line;
  return text.replace(/\t.*$/, '').replace(/"$/, '');
}

/** Puts a patch together, with counts and places of hunks computed anew. */
export function formatPatch(files: readonly PatchFile[]): string {
  return files.map(formatFile).join('');
}

function formatFile({ header, hunks }: PatchFile): string {
  let shift = 0;
  const texts = hunks.map(({ oldStart, lines }) => {
    const oldCount = lines.filter((line) => /^[ -]/.test(line)).length;
    const newCount = lines.filter((line) => /^[ +]/.test(line)).length;
    const first = oldStart + (oldCount === 0 ? 1 : 0); // "after line n" when nothing is covered
    const newStart = first + shift - (newCount === 0 ? 1 : 0);
    shift += newCount - oldCount;
    return `@@ -${oldStart},${oldCount} +${newStart},${newCount} @@\n${lines.join('\n')}\n`;
  });
  return `${header.join('\n')}\n${texts.join('')}`;
}

/** A patch for a reader with little room: paths and changed lines, with so many lines of context, no other headers. */
export function briefPatch(patch: string, context: number): string {
  return parsePatch(patch)
    .flatMap(({ path, hunks }) => [path, ...hunks.flatMap((hunk) => briefHunk(hunk.lines, context))])
    .join('\n');
}

function briefHunk(lines: readonly string[], context: number): readonly string[] {
  const changed = lines.flatMap((line, at) => (/^[+-]/.test(line) ? [at] : []));
  const isNear = (at: number): boolean => changed.some((one) => Math.abs(one - at) <= context);
  return lines.filter((line, at) => !line.startsWith('\\') && isNear(at)).map((line) => line.trimEnd());
}
