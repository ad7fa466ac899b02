import { z } from 'zod';
import { UsageError } from './output.ts';

const EXAMPLE = 'such as http://127.0.0.1:8000';

/** Address of a server in a file. */
export const address = z.url({ protocol: /^https?$/, error: `expected an address ${EXAMPLE}` });

/** Refuses what an option gives and is no address. */
export function assertAddress(option: string, value: string): void {
  if (!address.safeParse(value).success)
    throw new UsageError(`${option} needs an address ${EXAMPLE}, not "${value}".`);
}
