import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { writeLines } from '../store/durable.ts';

/** One line of a file of supervised examples: exact tokens, and which of them are learned. */
const EXAMPLE = z.object({
  schema: z.literal(1),
  id: z.string().min(1),
  instanceId: z.string(),
  reward: z.number(),
  tokenIds: z.array(z.int().nonnegative()).min(2).readonly(),
  /** Places of the tokens that are learned, from 1. */
  positions: z.array(z.int().min(1)).min(1).readonly(),
  /** Factor of its loss, e.g. the share of one of several answers to one prompt. */
  weight: z.number().positive(),
});
export type SftExample = Readonly<z.infer<typeof EXAMPLE>>;

/** Writes examples as JSON lines, whole or not at all. */
export const writeExamples = (file: string, examples: readonly SftExample[]): Promise<void> =>
  writeLines(
    file,
    examples.map((example) => JSON.stringify(example)),
  );

/** Reads files of examples. Throws with file and line where one is not as it should be, or two have one id. */
export async function readExamples(files: readonly string[]): Promise<readonly SftExample[]> {
  const seen = new Set<string>();
  const examples: SftExample[] = [];
  for (const file of files) {
    const lines = (await readFile(file, 'utf8')).split('\n');
    for (const [index, line] of lines.entries()) {
      if (line.trim() === '') continue;
      const example = exampleOf(line, `${file}:${index + 1}`);
      if (seen.has(example.id))
        throw new Error(`${file}:${index + 1}: there are two examples "${example.id}".`);
      seen.add(example.id);
      examples.push(example);
    }
  }
  return examples;
}

function exampleOf(line: string, place: string): SftExample {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new Error(`${place}: this line is not JSON.`);
  }
  const parsed = EXAMPLE.safeParse(value);
  if (!parsed.success) throw new Error(`${place}: ${z.prettifyError(parsed.error)}`);
  const { positions, tokenIds } = parsed.data;
  if (positions.some((position) => position >= tokenIds.length))
    throw new Error(`${place}: a position is outside of the ${tokenIds.length} tokens.`);
  return parsed.data;
}
