import { inspect } from 'node:util';

/** A value that must never be printed: JSON, templates, console.log and loggers all show `[secret]`. */
export interface Secret {
  /** The value itself; only for the call that needs it. */
  reveal(): string;
  toString(): string;
  toJSON(): string;
}

/** Wraps a value so that only `reveal()` gives it away. */
export function secret(value: string): Secret {
  const shown = (): string => '[secret]';
  return Object.freeze({
    reveal: (): string => value,
    toString: shown,
    toJSON: shown,
    [inspect.custom]: shown,
  });
}
