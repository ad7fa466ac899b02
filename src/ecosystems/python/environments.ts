import type { Ecosystem } from '../types.ts';
import { checkLeaks } from './leaks.ts';
import { realiseEnvironment } from './realise.ts';
import type { RealiseDeps } from './realise.ts';
import { resolveEnvironment } from './resolve.ts';
import type { ResolveDeps } from './resolve.ts';

export type PythonEnvironmentDeps = ResolveDeps & RealiseDeps;

export type PythonEnvironments = Pick<Ecosystem, 'resolve' | 'realise' | 'checkLeaks'>;

/** Python's environments: resolution with the calendar, realisation in the package store, leak scan. */
export function createPythonEnvironments(deps: PythonEnvironmentDeps): PythonEnvironments {
  return {
    resolve: (candidate, policy, context) => resolveEnvironment(deps, candidate, policy, context),
    realise: (spec, variant, context) => realiseEnvironment(deps, spec, variant, context),
    checkLeaks: (candidate, key) => checkLeaks(deps, candidate, key),
  };
}
