import { newFile } from '../diff.ts';
import { FORGERY, HOOK } from '../payloads.ts';
import type { HostilePrediction } from '../types.ts';

export const pluginInTree: HostilePrediction = {
  kind: 'prediction',
  name: 'plugin-in-tree',
  tries: 'puts a module into the tree under the name of a plugin that the environment has.',
  expected: FORGERY,
  patch: ({ row, roots }) => {
    const plugins = [...row.environment.lock.matchAll(/^(pytest-[\w-]+|anyio|hypothesis)==/gm)].map(
      ([, name = '']) => name,
    );
    const modules = plugins.map((name) =>
      name === 'hypothesis' ? '_hypothesis_pytestplugin' : name.replaceAll('-', '_'),
    );
    if (modules.length === 0) return null;
    return modules.map((name) => newFile(`${roots.at(-1) === 'src' ? 'src/' : ''}${name}.py`, HOOK)).join('');
  },
};
