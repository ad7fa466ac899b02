import { sha256Hex } from './canonical.ts';

/**
 * A stream of numbers uniform in [0, 1), the same for the same name on every machine: sha256 in counter mode, 32 bits each.
 * Pure, so that workflows may draw.
 */
export function drawsOf(name: string): () => number {
  let block = '';
  let at = 0;
  let counter = 0;
  return () => {
    if (at === block.length) {
      block = sha256Hex(`${name}\n${counter++}`);
      at = 0;
    }
    at += 8;
    return Number.parseInt(block.slice(at - 8, at), 16) / 2 ** 32;
  };
}
