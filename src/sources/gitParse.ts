import type { TreeEntry } from './types.ts';

/** One changed path of a commit against another, without rename detection. */
export interface RawChange {
  /** UTF-8; `undecodable` is set when the bytes are not, and then no path here names the file. */
  readonly path: string;
  readonly undecodable: boolean;
  readonly status: 'A' | 'M' | 'D' | 'T';
  readonly oldMode: string;
  readonly newMode: string;
  readonly oldOid: string;
  readonly newOid: string;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes a path strictly; null when it is not UTF-8. */
export function decodePath(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

/** Splits NUL-separated output into fields, without the empty one after the last separator. */
export function nulFields(bytes: Buffer): Buffer[] {
  const fields: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(0, start);
    const stop = end < 0 ? bytes.length : end;
    fields.push(bytes.subarray(start, stop));
    start = stop + 1;
  }
  return fields;
}

const RAW = /^:(\d{6}) (\d{6}) ([0-9a-f]+) ([0-9a-f]+) ([AMDT])/;

/** Reads one `:100644 100755 <oid> <oid> M` header with its path; null when the text is no such header. */
export function parseRawHeader(header: string, path: Buffer): RawChange | null {
  const match = RAW.exec(header);
  if (!match) return null;
  const [, oldMode = '', newMode = '', oldOid = '', newOid = '', status = 'M'] = match;
  const decoded = decodePath(path);
  return {
    path: decoded ?? path.toString('latin1'),
    undecodable: decoded === null,
    status: status as RawChange['status'],
    oldMode,
    newMode,
    oldOid,
    newOid,
  };
}

/** Parses `git diff --raw -z --no-renames`. */
export function parseRawDiff(output: Buffer): RawChange[] {
  const fields = nulFields(output);
  const changes: RawChange[] = [];
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const change = parseRawHeader(
      fields[index]?.toString('latin1') ?? '',
      fields[index + 1] ?? Buffer.alloc(0),
    );
    if (change) changes.push(change);
  }
  return changes;
}

/** Parses `git ls-tree -r -l -z --full-tree`. Paths that are not UTF-8 appear with replacement characters. */
export function parseLsTree(output: Buffer): TreeEntry[] {
  return nulFields(output).map((field) => {
    const tab = field.indexOf(9);
    const [mode = '', , oid = '', size = ''] = field.subarray(0, tab).toString('latin1').split(/ +/);
    return {
      path: field.subarray(tab + 1).toString('utf8'),
      mode: mode as TreeEntry['mode'],
      oid,
      bytes: size === '-' ? 0 : Number(size),
    };
  });
}

/**
 * Parses `git cat-file --batch` output for `count` requests in order. A missing object, a tree or a submodule is null.
 */
export function parseCatFileBatch(output: Buffer, count: number): (Buffer | null)[] {
  const contents: (Buffer | null)[] = [];
  let at = 0;
  while (contents.length < count) {
    const end = output.indexOf(10, at);
    if (end < 0) throw new Error(`git cat-file answered ${contents.length} of ${count} requests`);
    const header = output.subarray(at, end).toString('utf8');
    const match = /^[0-9a-f]{40,64} (blob|tree|commit|tag) (\d+)$/.exec(header);
    at = end + 1;
    if (!match) {
      contents.push(null); // "<request> missing"
      continue;
    }
    const bytes = Number(match[2]);
    contents.push(match[1] === 'blob' ? output.subarray(at, at + bytes) : null);
    at += bytes + 1;
  }
  return contents;
}
