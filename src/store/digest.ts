import { createHash } from 'node:crypto';

/** SHA-256 of bytes, as 64 hex digits. */
export const sha256OfBytes = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
