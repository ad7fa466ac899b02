import { splitChange } from '../domain/split.ts';
import { changelogEntry, changelogPaths, wholeEntry } from '../domain/changelog.ts';
import type { ChangelogQuery } from '../domain/changelog.ts';
import { parseMetadata } from './metadata.ts';
import type { PackageMetadata } from './metadata.ts';
import type { SourceMirror } from './mirror.ts';

export interface ReleaseText {
  readonly text: string;
  /** Where it came from: a path of the release's tree, `PKG-INFO`, or `changed files` when nothing tells more. */
  readonly origin: string;
}

const MAX_LISTED_FILES = 30;

/** Reads the metadata at the top of a release's tree; empty where there is none. */
export async function readMetadata(mirror: SourceMirror, commit: string): Promise<PackageMetadata> {
  return parseMetadata((await mirror.readFile(commit, 'PKG-INFO'))?.toString('utf8') ?? '');
}

/**
 * Problem text of a release: its changelog entry; else the entry inside the package's description; else an honest
 * sentence with names, versions and the source files that changed.
 */
export async function releaseText(
  mirror: SourceMirror,
  release: {
    readonly name: string;
    readonly commit: string;
    readonly base: string;
    readonly query: ChangelogQuery;
  },
  metadata: PackageMetadata,
): Promise<ReleaseText> {
  const { name, query } = release;
  const title = `${name} ${query.version} (the release after ${query.baseVersion})`;
  const paths = (await mirror.listTree(release.commit)).map((entry) => entry.path);
  for (const path of changelogPaths(paths, query.version)) {
    const text = (await mirror.readFile(release.commit, path))?.toString('utf8') ?? '';
    const entry = changelogEntry(text, query) ?? (path.includes(query.version) ? wholeEntry(text) : null);
    if (entry !== null && entry.trim() !== '') return { text: `${title}\n\n${entry}\n`, origin: path };
  }
  const described = changelogEntry(metadata.description, query);
  if (described !== null) return { text: `${title}\n\n${described}\n`, origin: 'PKG-INFO' };
  return {
    text: `${title}\n\n${await changedFilesText(mirror, release.base, release.commit)}\n`,
    origin: 'changed files',
  };
}

async function changedFilesText(mirror: SourceMirror, base: string, commit: string): Promise<string> {
  const changes = await mirror.changes(base, commit);
  const split = splitChange(changes.map((change) => change.path));
  const files = split.properSource.length > 0 ? split.properSource : split.source;
  const more = files.length > MAX_LISTED_FILES ? `\n- and ${files.length - MAX_LISTED_FILES} more` : '';
  const list = files.slice(0, MAX_LISTED_FILES).map((path) => `- ${path}`);
  return `The release has no changelog entry. Files that it changes beside tests:\n\n${list.join('\n')}${more}`;
}
