/** Paths of a git diff without renames (all of ours), apart by whether the base has them. */
export interface PatchedPaths {
  /** Changed or deleted: in the base tree. */
  readonly changed: readonly string[];
  readonly added: readonly string[];
}

/** Reads the file headers of a git diff; names that git wrote in C quotes are decoded. */
export function patchedPaths(patch: string): PatchedPaths {
  const changed: string[] = [];
  const added: string[] = [];
  const header = /^diff --git (.*)\n((?:(?!diff --git |@@ |GIT binary patch).*\n)*)/gm;
  for (const [, names = '', rest = ''] of patch.matchAll(header)) {
    const path = headerPath(names);
    if (path !== null) (/^new file mode /m.test(rest) ? added : changed).push(path);
  }
  return { changed, added };
}

/** `a/x b/x` → `x`. Without renames both halves are equal, so the middle is known even when names hold spaces. */
function headerPath(names: string): string | null {
  if (names.startsWith('"')) {
    const quoted = /^"((?:[^"\\]|\\.)*)"/.exec(names)?.[1];
    return quoted === undefined ? null : unquote(quoted).replace(/^a\//, '');
  }
  const half = names.slice(0, (names.length - 1) / 2);
  return names === `${half} b/${half.slice(2)}` ? half.slice(2) : null;
}

const ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  t: 9,
  n: 10,
  v: 11,
  f: 12,
  r: 13,
  '"': 34,
  '\\': 92,
};

/** git's C quoting: octal bytes of UTF-8 and the usual letters. */
function unquote(text: string): string {
  const bytes: number[] = [];
  for (const [whole, octal, letter] of text.matchAll(/\\([0-7]{3})|\\(.)|[\s\S]/gu)) {
    if (octal !== undefined) bytes.push(Number.parseInt(octal, 8));
    else if (letter !== undefined) bytes.push(ESCAPES[letter] ?? letter.charCodeAt(0));
    else bytes.push(...Buffer.from(whole));
  }
  return Buffer.from(bytes).toString('utf8');
}
