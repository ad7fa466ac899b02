import type { Readable } from 'node:stream';
import { gitStream } from './gitRun.ts';
import { parseRawHeader } from './gitParse.ts';
import type { RawChange } from './gitParse.ts';

/** One commit of a log with what it changes against its first parent. */
export interface LoggedCommit {
  readonly sha: string;
  readonly parents: readonly string[];
  /** Committer time in seconds since 1970. */
  readonly committedAt: number;
  readonly message: string;
  /** At most `MAX_CHANGES`; `moreChanges` counts the rest. */
  readonly changes: readonly RawChange[];
  readonly moreChanges: number;
}

const FORMAT = 'tformat:%x01%H%x02%P%x02%ct%x02%B';
const MAX_CHANGES = 5_000; // a commit over this is too large for any limit; its other paths are only counted
const MAX_MESSAGE_CHARACTERS = 64 * 1024;

/**
 * Streams `git log` of a revision range, newest first, from one process with flat memory. The changes of a merge are
 * those against its first parent. Leaving the loop ends git.
 */
export async function* streamLog(
  gitDir: string,
  range: readonly string[],
  options: { readonly firstParent: boolean; readonly signal?: AbortSignal },
): AsyncGenerator<LoggedCommit> {
  const walk = options.firstParent ? ['--first-parent', '--diff-merges=first-parent'] : ['--no-merges'];
  const stream = gitStream(
    [
      'log',
      ...walk,
      '--raw',
      '-z',
      '--no-renames',
      '--no-abbrev',
      '--no-color',
      '--no-show-signature',
      `--format=${FORMAT}`,
      ...range,
      '--',
    ],
    { gitDir, ...(options.signal === undefined ? {} : { signal: options.signal }) },
  );
  try {
    yield* parseLog(stream);
  } finally {
    stream.destroy();
  }
}

interface OpenCommit {
  readonly commit: Omit<LoggedCommit, 'changes' | 'moreChanges'>;
  readonly changes: RawChange[];
  more: number;
}

/** Parses the NUL-separated output of `streamLog`'s command. */
export async function* parseLog(stream: Readable): AsyncGenerator<LoggedCommit> {
  let open: OpenCommit | null = null;
  let header: string | null = null;
  for await (const field of nulSeparated(stream)) {
    if (header !== null) {
      const change = parseRawHeader(header, field);
      header = null;
      if (change && open) addChange(open, change);
    } else if (field[0] === 1) {
      if (open) yield closed(open);
      open = { commit: parseCommit(field), changes: [], more: 0 };
    } else {
      const text = field.toString('latin1').trimStart();
      if (text.startsWith(':')) header = text;
    }
  }
  if (open) yield closed(open);
}

function addChange(open: OpenCommit, change: RawChange): void {
  if (open.changes.length < MAX_CHANGES) open.changes.push(change);
  else open.more++;
}

const closed = (open: OpenCommit): LoggedCommit => ({
  ...open.commit,
  changes: open.changes,
  moreChanges: open.more,
});

function parseCommit(field: Buffer): OpenCommit['commit'] {
  const text = field.subarray(1).toString('utf8');
  const [sha = '', parents = '', seconds = '0'] = text.split('\u0002', 3);
  return {
    sha,
    parents: parents.split(' ').filter((parent) => parent !== ''),
    committedAt: Number(seconds),
    message: text.slice(sha.length + parents.length + seconds.length + 3).slice(0, MAX_MESSAGE_CHARACTERS),
  };
}

async function* nulSeparated(stream: Readable): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(0); end >= 0; end = chunk.indexOf(0, start)) {
      const piece = chunk.subarray(start, end);
      yield rest.length === 0 ? piece : Buffer.concat([...rest, piece]);
      rest = [];
      start = end + 1;
    }
    if (start < chunk.length) rest.push(chunk.subarray(start));
  }
  if (rest.length > 0) yield Buffer.concat(rest);
}
