/** What a model is told of a command: exit code and output, cut in the middle; and what counts as the same output. Pure. */
import { sha256Hex } from '../domain/canonical.ts';

export interface CommandEnd {
  /** null: its time was over. */
  readonly exitCode: number | null;
  readonly output: string;
  readonly timeoutMs: number;
  readonly outOfMemory: boolean;
  /** Bytes of output that were not kept. */
  readonly droppedBytes: number;
}

export function observationOf(end: CommandEnd, characters: number): string {
  const head =
    end.exitCode === null ? `ended by force after ${end.timeoutMs / 1000} s` : `exit code ${end.exitCode}`;
  const notes = [
    end.outOfMemory ? 'out of memory: a process was killed' : '',
    end.droppedBytes > 0 ? `${end.droppedBytes} more bytes of output were dropped` : '',
  ].filter((note) => note !== '');
  return [[head, ...notes].join('; '), cutMiddle(end.output.trimEnd(), characters)].join('\n').trimEnd();
}

/** Beginning and end of a text that is longer than it may be. */
export function cutMiddle(text: string, characters: number): string {
  if (text.length <= characters) return text;
  const half = Math.floor(characters / 2);
  const left = text.length - 2 * half;
  return `${text.slice(0, half)}\n[… ${left} characters left out …]\n${text.slice(-half)}`;
}

/** In a text that a command printed, what may be another one each time. */
const VARYING: readonly (readonly [RegExp, string])[] = [
  [/ \(\d+:\d\d:\d\d\)/g, ''], // pytest's, where it took longer than a minute
  [/\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?([.,]\d+)?(Z|[+-]\d\d:?\d\d)?)?\b/g, '<date>'],
  [
    /\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2} +(\d\d:\d\d(:\d\d)?( \d{4})?|\d{4})/g,
    '<date>',
  ],
  [/\b\d{1,2}:\d\d:\d\d([.,]\d+)?\b/g, '<time>'],
  [/\b\d+m\d+([.,]\d+)?s\b/g, '<time>'], // bash's time
  [/\b\d+([.,]\d+)? ?(ns|us|µs|ms|s|secs?|seconds?|mins?|minutes?)\b/g, '<time>'], // pytest's and unittest's
  [/\b\d+([.,]\d+)? ?([kKMG]i?B|it|ops|[kKMG]?ops)\/s\b/g, '<rate>'],
  [/0x[0-9a-fA-F]+/g, '<address>'],
  [/\/tmp\/[\w.-]+/g, '/tmp/<name>'],
  [/\b(pid|PID|process)[ =:]*\d+/g, '$1 <pid>'],
  [/\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b/g, '<hash>'], // commits that the agent made
  [/=+ (.*?) =+$/gm, '== $1 =='], // pytest pads its lines to a width, whatever stands in them
];

/** A text without what legitimately varies between two runs of the same command: times, dates, addresses, names of draws. */
export const comparable = (text: string): string =>
  VARYING.reduce((rest, [pattern, to]) => rest.replace(pattern, to), text);

/** By this a command that is run again is compared; how far one got that was ended by force is chance. */
export const digestOf = (end: CommandEnd): string =>
  sha256Hex(end.exitCode === null ? 'timeout' : `${end.exitCode}\n${comparable(end.output)}`);
