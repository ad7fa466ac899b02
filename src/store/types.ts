import type { Readable } from 'node:stream';
import type { ArtefactRef } from '../domain/types.ts';

/**
 * Content-addressed, immutable storage. The file system implements it; S3 will.
 * A put is atomic and durable (temporary file, fsync, rename); a get verifies the checksum.
 */
export interface ArtefactStore {
  put(content: Buffer | string): Promise<ArtefactRef>;
  /** Streams to the store without holding the content in memory. */
  putStream(content: Readable): Promise<ArtefactRef>;
  /**
   * Throws a permanent NotFound failure when absent, an Infra failure when the checksum is wrong; the damaged file is set
   * aside then, so that the next put of the content heals it.
   */
  get(ref: ArtefactRef): Promise<Buffer>;
  getText(ref: ArtefactRef): Promise<string>;
  getJson<T>(ref: ArtefactRef): Promise<T>;
  /** Canonical JSON, so equal values have equal refs. */
  putJson(value: unknown): Promise<ArtefactRef>;
  has(ref: ArtefactRef): Promise<boolean>;
  /** Every artefact with its size in bytes and when it was last put. */
  list(): AsyncIterable<{ readonly ref: ArtefactRef; readonly bytes: number; readonly renewedAtMs: number }>;
  /** For `gc`, behind its gate: removes an artefact unless it was put at `beforeMs` or later. Says whether it did. */
  remove(ref: ArtefactRef, beforeMs: number): Promise<boolean>;
}

/**
 * Small named JSON records beside the artefacts: stage results, evaluation results, campaign manifests.
 * `record` is first-writer-wins: a retried activity that finds the record adopts it, so nothing is recorded twice.
 */
export interface RecordStore {
  /** Returns the stored value: the given one, or the one that was there first. `created` says which. */
  record<T>(name: string, value: T): Promise<{ readonly value: T; readonly created: boolean }>;
  /** Replaces atomically; for derived files (reports, indices) only. */
  replace(name: string, value: unknown): Promise<void>;
  read<T>(name: string): Promise<T | null>;
  /** When the record was written, in epoch milliseconds; null when there is none. */
  writtenAtMs(name: string): Promise<number | null>;
  /** Names under a prefix, sorted. */
  list(prefix: string): Promise<readonly string[]>;
  remove(prefix: string): Promise<void>;
}
