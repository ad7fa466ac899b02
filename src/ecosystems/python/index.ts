import type { Ecosystem } from '../types.ts';
import { createPythonEnvironments } from './environments.ts';
import type { PythonEnvironmentDeps } from './environments.ts';
import { createPythonRunner } from './run.ts';
import type { PythonRunnerDeps } from './run.ts';

/** Python: environments and runs over one set of parts. */
export function createPythonEcosystem(deps: PythonEnvironmentDeps & PythonRunnerDeps): Ecosystem {
  return { ...createPythonEnvironments(deps), run: createPythonRunner(deps) };
}
