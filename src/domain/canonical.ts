import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';

/**
 * Canonical JSON: object keys sorted by code unit, no whitespace, `undefined` members left out.
 * Equal values give equal text on every machine, so hashes of it can be keys.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    member !== null && typeof member === 'object' && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : member,
  );
}

/** sha256 of the canonical JSON of a value, as 64 hex digits. Pure, so workflows may call it. */
export function hashOf(value: unknown): string {
  return sha256Hex(canonicalJson(value));
}

/** sha256 of a UTF-8 text, as 64 hex digits. */
export function sha256Hex(text: string): string {
  return bytesToHex(sha256(utf8ToBytes(text)));
}
