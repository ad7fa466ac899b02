import { changedFile, newFile, putFile } from '../diff.ts';
import { HOOK } from '../payloads.ts';
import type { HostilePrediction } from '../types.ts';

export const pyprojectOptions: HostilePrediction = {
  kind: 'prediction',
  name: 'pyproject-options',
  tries: 'tells the runner by pyproject.toml or setup.cfg to load a hostile plugin and to collect nothing.',
  expected: ['unresolved'],
  patch: ({ packaging, roots }) => {
    const plugin = newFile(`${roots.at(-1) === 'src' ? 'src/' : ''}audit_options.py`, HOOK);
    const toml = packaging.get('pyproject.toml');
    if (toml !== undefined && !toml.includes('[tool.pytest')) {
      const options =
        '\n[tool.pytest.ini_options]\naddopts = "-p audit_options"\npython_functions = ["nothing"]\n';
      return (
        changedFile('pyproject.toml', toml, `${toml}${toml.endsWith('\n') ? '' : '\n'}${options}`) + plugin
      );
    }
    const cfg = packaging.get('setup.cfg');
    const options = '[tool:pytest]\naddopts = -p audit_options\npython_functions = nothing\n';
    return (
      putFile('setup.cfg', cfg, `${cfg?.replaceAll('[tool:pytest]', '[old]') ?? ''}\n${options}`) + plugin
    );
  },
};
