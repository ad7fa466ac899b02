import { compare, eq, valid } from '@renovatebot/pep440';

/** Reads changelogs as projects write them: Markdown, reStructuredText or plain text. */

interface Heading {
  /** 0-based line of the title, and of the first line after the heading. */
  readonly line: number;
  readonly bodyLine: number;
  /** Where the heading begins, overline included. */
  readonly startLine: number;
  /** Equal styles mean equal depth. */
  readonly style: string;
  readonly version: string | null;
}

const NAME =
  /^(change[-_ ]?logs?|changes|history|news|release[-_ ]?notes|releases|release[-_ ]?history|whats?[-_ ]?new|versions)(\.(md|rst|txt|markdown|adoc))?$/i;
const DOCS = /^(docs?|documentation)$/i;

/**
 * Paths of a tree that may hold the changelog, best first: at the top, then under docs, then files named after the
 * version itself (`docs/releases/1.2.3.md`).
 */
export function changelogPaths(paths: readonly string[], version: string): readonly string[] {
  const ranked = paths.flatMap((path) => {
    const segments = path.split('/');
    const name = segments.at(-1) ?? '';
    const inDocs = DOCS.test(segments[0] ?? '');
    if (NAME.test(name)) {
      if (segments.length === 1) return [{ path, rank: /^(versions|releases)/i.test(name) ? 1 : 0 }];
      if (inDocs && segments.length <= 4) return [{ path, rank: 2 + segments.length }];
      return segments.length <= 3 && !/test/i.test(path) ? [{ path, rank: 10 }] : [];
    }
    return isNamedAfter(name, version) &&
      segments.length > 1 &&
      /change|release|news|history|whats/i.test(path)
      ? [{ path, rank: 8 }]
      : [];
  });
  return ranked
    .filter(({ path }) => !/(^|\/)(tests?|testing)\//i.test(path))
    .sort((a, b) => a.rank - b.rank || (a.path < b.path ? -1 : 1))
    .map(({ path }) => path);
}

function isNamedAfter(name: string, version: string): boolean {
  const match = /^v?(.+?)(?:-notes)?\.(md|rst|txt)$/i.exec(name);
  return match !== null && sameVersion(match[1] ?? '', version);
}

const sameVersion = (text: string, version: string): boolean => valid(text) !== null && eq(text, version);

export interface ChangelogQuery {
  readonly version: string;
  /** Entries of versions above this one and below `version` are added when `isOwnRelease` denies them: they were never
   * released by themselves (pre-releases, yanked ones), so their changes are part of this release. */
  readonly baseVersion: string;
  readonly isOwnRelease: (version: string) => boolean;
}

/** Text of the entries that describe a release, headings left out; null when the file has no entry for it. */
export function changelogEntry(text: string, query: ChangelogQuery): string | null {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const headings = findHeadings(lines);
  const parts = headings
    .filter((heading) => heading.version !== null && belongs(heading.version, query))
    .map((heading) => sectionOf(lines, headings, heading))
    .filter((part) => part !== '');
  const own = headings.some((heading) => heading.version !== null && eq(heading.version, query.version));
  return own && parts.length > 0 ? parts.join('\n\n') : null;
}

/** A whole file that describes one version only, without its title. */
export function wholeEntry(text: string): string | null {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const first = findHeadings(lines)[0];
  return tidy(lines.slice(first !== undefined && first.startLine < 3 ? first.bodyLine : 0)) || null;
}

function belongs(version: string, query: ChangelogQuery): boolean {
  if (eq(version, query.version)) return true;
  return (
    compare(version, query.baseVersion) > 0 &&
    compare(version, query.version) < 0 &&
    !query.isOwnRelease(version)
  );
}

function sectionOf(lines: readonly string[], headings: readonly Heading[], heading: Heading): string {
  const levels = [...new Set(headings.map((other) => other.style))];
  const depth = (style: string): number => levels.indexOf(style);
  const versioned = new Set(headings.filter((other) => other.version !== null).map((other) => other.style));
  const next = headings.find(
    (other) =>
      other.line > heading.line &&
      (other.style === heading.style ||
        (other.version !== null && versioned.has(other.style)) ||
        (isRanked(other.style) &&
          isRanked(heading.style) &&
          rankOf(other.style, depth) < rankOf(heading.style, depth))),
  );
  return tidy(lines.slice(heading.bodyLine, next?.startLine ?? lines.length));
}

const isRanked = (style: string): boolean =>
  style.startsWith('#') || style.startsWith('=') || style.startsWith('_');
const rankOf = (style: string, depth: (style: string) => number): number =>
  style.startsWith('#') ? style.length : depth(style);

/** Drops labels and blank lines around an entry. */
function tidy(lines: readonly string[]): string {
  return lines
    .filter(
      (line) =>
        !/^\.\. _[^:]+:\s*$/.test(line) && !/^\[[^\]]+\]: \S+$/.test(line) && !/^<a (id|name)=/.test(line),
    )
    .join('\n')
    .replace(/^(\s*\n)+/, '')
    .replace(/(\n\s*([-=*_]{3,})?)+$/, '')
    .trimEnd();
}

function findHeadings(lines: readonly string[]): readonly Heading[] {
  const headings: Heading[] = [];
  let fenced = false;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    if (/^(```|~~~)/.test(line)) fenced = !fenced;
    if (fenced) continue;
    const heading = headingAt(lines, at);
    if (heading === null) continue;
    headings.push(heading);
    at = heading.bodyLine - 1;
  }
  return headings;
}

const RULE = /^([=\-~^"'`*+#:.<>_])\1{2,}\s*$/;

function headingAt(lines: readonly string[], at: number): Heading | null {
  const line = lines[at] ?? '';
  const next = lines[at + 1] ?? '';
  const after = lines[at + 2] ?? '';
  if (RULE.test(line) && next.trim() !== '' && after.trim() === line.trim())
    return { line: at + 1, startLine: at, bodyLine: at + 3, style: `_${line[0]}`, version: versionIn(next) };
  if (line.trim() === '' || /^\s/.test(line)) return null;
  const hashes = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
  if (hashes)
    return {
      line: at,
      startLine: at,
      bodyLine: at + 1,
      style: hashes[1] ?? '#',
      version: versionIn(hashes[2] ?? ''),
    };
  if (RULE.test(next) && !RULE.test(line) && next.trim().length >= Math.min(line.trim().length, 3))
    return { line: at, startLine: at, bodyLine: at + 2, style: `=${next[0]}`, version: versionIn(line) };
  const plain =
    /^(\*\*)?(version|release|changes in( version)?|v)?[\s:]*\[?v?\d+(\.\d+)+[^\s,;]*\]?(\*\*)?([\s:,(-].{0,60})?$/i.test(
      line,
    );
  const version = plain ? versionIn(line) : null;
  return version === null ? null : { line: at, startLine: at, bodyLine: at + 1, style: 'plain', version };
}

/** First version-like token of a title: `[1.2.3] - 2020-01-01`, `Version 2.0`, `pkg 1.0rc1`, `2.1.0 (May 3rd)`. */
export function versionIn(title: string): string | null {
  const text = title.replace(/\]\([^)]*\)/g, ']').replace(/<[^>]*>/g, ' ');
  for (const match of text.matchAll(
    /(?<![\w.])v?(\d+(?:\.\d+)+(?:[-._]?(?:a|b|c|rc|alpha|beta|dev|post)[-._]?\d*)*)(?![\w])/gi,
  )) {
    const found = match[1] ?? '';
    if (valid(found) !== null) return found;
  }
  const whole = /^\s*\[?(?:version|release|v)?\s*v?(\d+)\]?\s*($|[-(:–—])/i.exec(text)?.[1];
  return whole === undefined || Number(whole) > 9_999 ? null : whole;
}
