import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Prediction } from '../domain/verdicts.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { jsonProblem, lineOfOffset, topLevelMembers } from './jsonText.ts';

/** What `evaluate` is asked to try: the reference patches, nothing at all, or a file of predictions. */
export type PredictionSet =
  | { readonly kind: 'gold' }
  | { readonly kind: 'nop' }
  | {
      readonly kind: 'file';
      readonly path: string;
      /** In the file's order; `model_patch` is null when empty, else ends in a newline. */
      readonly predictions: readonly Prediction[];
      /** Ids that the dataset does not have and that `ignoreUnknown` let pass. */
      readonly ignored: readonly string[];
    };

export interface LoadPredictionsInput {
  /** A path, or the word `gold` or `nop`. */
  readonly source: string;
  /** Ids of the dataset that is evaluated. */
  readonly instanceIds: ReadonlySet<string>;
  /** Skip predictions for ids that the dataset does not have, instead of refusing the file. */
  readonly ignoreUnknown?: boolean;
}

const badInput = (message: string) => permanentFailure(FAILURE_TYPES.badInput, message);

/** One prediction with the line that it came from, so that every complaint can name it. */
interface Entry {
  readonly line: number;
  /** Key in a dict by instance_id; null in lists and JSONL. */
  readonly key: string | null;
  readonly value: unknown;
}

/**
 * Reads predictions: a JSON list, a JSON dict by instance_id (values are objects or bare patches; SWE-agent's and
 * mini-swe-agent's `preds.json`), or JSONL (OpenHands' `output.jsonl` too).
 * Throws a BadInput failure of one sentence that names file and line for anything broken, duplicate or unknown, and
 * NotFound when there is no such file.
 */
export async function loadPredictions(input: LoadPredictionsInput): Promise<PredictionSet> {
  if (input.source === 'gold' || input.source === 'nop') return { kind: input.source };
  const text = await readText(input.source);
  return { kind: 'file', path: input.source, ...parsePredictions({ ...input, text }) };
}

/** The pure part of `loadPredictions`: text in, checked predictions out. */
export function parsePredictions(
  input: LoadPredictionsInput & { readonly text: string },
): Pick<Extract<PredictionSet, { kind: 'file' }>, 'predictions' | 'ignored'> {
  const entries = readEntries(input.source, input.text.replace(/^\uFEFF/, ''));
  if (entries.length === 0) throw badInput(`${input.source} holds no predictions.`);
  const fallbackModel = basename(input.source).replace(/\.jsonl?$/, '');
  const firstLine = new Map<string, number>();
  const predictions: Prediction[] = [];
  const unknown: { id: string; line: number }[] = [];
  for (const entry of entries) {
    const where = `${input.source}:${entry.line}`;
    const prediction = readPrediction(entry, where, fallbackModel);
    const earlier = firstLine.get(prediction.instance_id);
    if (earlier !== undefined) {
      throw badInput(
        `${where}: a second prediction for ${prediction.instance_id}; the first is on line ${earlier}.`,
      );
    }
    firstLine.set(prediction.instance_id, entry.line);
    if (input.instanceIds.has(prediction.instance_id)) predictions.push(prediction);
    else unknown.push({ id: prediction.instance_id, line: entry.line });
  }
  if (unknown.length > 0 && input.ignoreUnknown !== true) throw badInput(unknownText(input.source, unknown));
  return { predictions, ignored: unknown.map(({ id }) => id) };
}

/** Adds what git needs, a final newline, and nothing else; null when there is no patch to speak of. */
export function normalisePatch(text: string | null): string | null {
  if (text === null || text.trim() === '') return null;
  return text.endsWith('\n') ? text : `${text}\n`;
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw permanentFailure(
      FAILURE_TYPES.notFound,
      `Cannot read predictions from ${path} (${code}); give a .json or .jsonl file, or the word gold or nop.`,
      error,
    );
  }
}

function readEntries(path: string, text: string): readonly Entry[] {
  if (text.trim() === '') return [];
  if (path.endsWith('.jsonl')) return readLines(path, text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (looksLikeJsonLines(text)) return readLines(path, text);
    throw badInput(jsonProblem(path, text, error));
  }
  if (typeof value !== 'object' || value === null) {
    throw badInput(
      `${path}:1: expected a list of predictions or a dict by instance_id, found ${nameOf(value)}.`,
    );
  }
  if (isPrediction(value)) return [{ line: 1, key: null, value }];
  return topLevelMembers(text).map(({ key, offset, end }) => ({
    line: lineOfOffset(text, offset),
    key,
    value: JSON.parse(text.slice(offset, end)) as unknown,
  }));
}

function readLines(path: string, text: string): readonly Entry[] {
  return text.split('\n').flatMap((lineText, index): Entry[] => {
    if (lineText.trim() === '') return [];
    try {
      return [{ line: index + 1, key: null, value: JSON.parse(lineText) as unknown }];
    } catch (error) {
      throw badInput(jsonProblem(path, lineText, error, index));
    }
  });
}

/** A file without the `.jsonl` ending whose first two lines are JSON objects of their own. */
function looksLikeJsonLines(text: string): boolean {
  const [first] = text.split('\n').filter((line) => line.trim() !== '');
  try {
    return isRecord(JSON.parse(first ?? ''));
  } catch {
    return false;
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isPrediction = (value: unknown): boolean =>
  isRecord(value) && typeof value.instance_id === 'string' && !isRecord(value[value.instance_id]);

const nameOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`;

function readPrediction(entry: Entry, where: string, fallbackModel: string): Prediction {
  const value = entry.key !== null && !isRecord(entry.value) ? { model_patch: entry.value } : entry.value;
  if (!isRecord(value)) throw badInput(`${where}: a prediction must be an object, found ${nameOf(value)}.`);
  const id = value.instance_id ?? entry.key;
  if (typeof id !== 'string' || id === '') throw badInput(`${where}: the prediction has no instance_id.`);
  if (entry.key !== null && entry.key !== id) {
    throw badInput(`${where}: the entry of ${entry.key} holds the prediction of another instance (${id}).`);
  }
  const model = value.model_name_or_path ?? fallbackModel;
  if (typeof model !== 'string' || model === '') {
    throw badInput(`${where}: model_name_or_path of ${id} must be a non-empty text, found ${nameOf(model)}.`);
  }
  const patch = patchField(value);
  if (patch === undefined) throw badInput(`${where}: the prediction of ${id} has no model_patch.`);
  if (patch !== null && typeof patch !== 'string') {
    throw badInput(`${where}: model_patch of ${id} must be text or null, found ${nameOf(patch)}.`);
  }
  return { instance_id: id, model_name_or_path: model, model_patch: normalisePatch(patch) };
}

/** `model_patch`; SWE-bench Pro says `patch`, OpenHands `test_result.git_patch`. */
function patchField(value: Readonly<Record<string, unknown>>): unknown {
  if ('model_patch' in value) return value.model_patch;
  if ('patch' in value) return value.patch;
  return isRecord(value.test_result) ? value.test_result.git_patch : undefined;
}

function unknownText(path: string, unknown: readonly { id: string; line: number }[]): string {
  const shown = unknown.slice(0, 10).map(({ id, line }) => `${id} (line ${line})`);
  const more = unknown.length > shown.length ? ` and ${unknown.length - shown.length} more` : '';
  return (
    `${path} has ${unknown.length === 1 ? 'a prediction' : `${unknown.length} predictions`} for instances that the dataset does not have: ` +
    `${shown.join(', ')}${more}; mend the ids or pass --ignore-unknown.`
  );
}
