/** What one metadata file says of a project. Each reader of detect.ts gives one; they are merged by trust. */
export interface ProjectMetadata {
  readonly name: string | null;
  readonly requiresPython: string | null;
  /** `X.Y` of the Python classifiers. */
  readonly classifiers: readonly string[];
  /** Run-time requirements; null when this file does not say (dynamic, or only a build can tell). */
  readonly dependencies: readonly string[] | null;
  /** Extras by normalised name. null when this file does not say. */
  readonly extras: Readonly<Record<string, readonly string[]>> | null;
  /** Groups of requirements for developers (PEP 735, poetry, pdm, hatch, uv), by normalised name. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
}

export const NO_METADATA: ProjectMetadata = {
  name: null,
  requiresPython: null,
  classifiers: [],
  dependencies: null,
  extras: null,
  groups: {},
};

/** `Programming Language :: Python :: 3.11` → `3.11`; `:: 2` and `:: 3 :: Only` stay as `2` and `3`. */
export const pythonClassifiers = (classifiers: readonly string[]): readonly string[] =>
  classifiers
    .map(
      (classifier) => /^Programming Language\s*::\s*Python\s*::\s*(\d+(?:\.\d+)?)\s*$/.exec(classifier)?.[1],
    )
    .filter((version) => version !== undefined);

/** Shapes of parsed TOML without `any`. */
export type Table = Readonly<Record<string, unknown>>;
export const table = (value: unknown): Table =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Table) : {};
export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
export const strings = (value: unknown): readonly string[] =>
  list(value).filter((member): member is string => typeof member === 'string');
export const string = (value: unknown): string | null => (typeof value === 'string' ? value : null);
