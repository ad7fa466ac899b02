import { ensurePythonEnvironment } from '../../src/setup/pythonEnvironments.ts';
import { readSettings } from '../../src/setup/settings.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Python of the environment that vLLM is started from. */
export async function vllmPython(): Promise<string> {
  return (await ensurePythonEnvironment('vllm', { settings: readSettings(), say })).python;
}
