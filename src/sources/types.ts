import type { Readable } from 'node:stream';
import type { ArtefactRef, IsoTime, Rejection } from '../domain/types.ts';
import type { SandboxOwner } from '../sandbox/types.ts';

/** One entry of a mined page, in source order. */
export type MinedCandidate =
  | { readonly ok: true; readonly instanceId: string; readonly candidate: ArtefactRef }
  | { readonly ok: false; readonly instanceId: string; readonly rejection: Rejection };

export interface MinePage {
  readonly entries: readonly MinedCandidate[];
  /** Where the next page starts; null at the end. Small JSON text, opaque to everybody else. */
  readonly nextCursor: string | null;
}

export interface MineLimits {
  /** Candidates whose source patch changes more files or lines than this are rejected as `too_large`. */
  readonly maxSourceFiles: number;
  readonly maxPatchBytes: number;
  /** Only changes published in [since, until). */
  readonly since: IsoTime | null;
  readonly until: IsoTime | null;
  /** At most so many candidates (rejected ones not counted), newest first, over the whole source; null for all. */
  readonly maxCandidates: number | null;
}

export interface MineContext {
  /** Whose containers they are, where a source needs some. */
  readonly owner: SandboxOwner;
  readonly heartbeat: (details: unknown) => void;
  readonly signal: AbortSignal;
}

/**
 * A stream of candidates in a fixed order (newest change first), in pages. The same cursor gives the same page.
 * Errors: unknown package or repository → permanent NotFound with one sentence; index or API trouble → Infra or
 * RateLimited failures, which Temporal retries from the same cursor.
 */
export interface CandidateSource {
  minePage(cursor: string | null, pageSize: number, context: MineContext): Promise<MinePage>;
}

/** One regular file, link or submodule of a commit's tree. */
export interface TreeEntry {
  readonly path: string;
  readonly mode: '100644' | '100755' | '120000' | '160000';
  readonly oid: string;
  readonly bytes: number;
}

/** A bare git mirror shared by all candidates of a repository. Never checked out. */
export interface Mirror {
  readonly id: string;
  readonly gitDir: string;
  listTree(commit: string): Promise<readonly TreeEntry[]>;
  /** null when the path is not in the commit. */
  readFile(commit: string, path: string): Promise<Buffer | null>;
  readFiles(commit: string, paths: readonly string[]): Promise<ReadonlyMap<string, Buffer>>;
  /** The commit's tree as a tar stream, byte for byte: export-ignore and export-subst are switched off. */
  archive(commit: string, paths?: readonly string[]): Readable;
  treeOid(commit: string): Promise<string>;
  /** `git diff --binary --no-renames --full-index` of two commits, limited to the paths. Empty paths = empty diff. */
  diff(base: string, head: string, paths: readonly string[]): Promise<Buffer>;
  /** `git apply --cached` of a diff on a commit's tree; a deterministic commit of the result, kept by a ref; null when it does not apply. */
  commitWithPatch(base: string, patch: Buffer, refName: string): Promise<string | null>;
}

export interface MirrorStore {
  /** Opens a mirror that exists; permanent NotFound failure when it does not. */
  open(id: string): Promise<Mirror>;
}
