import { changedFile } from '../diff.ts';
import { FORGERY, HOOK } from '../payloads.ts';
import type { HostilePrediction } from '../types.ts';

export const pluginEntryPoint: HostilePrediction = {
  kind: 'prediction',
  name: 'plugin-entry-point',
  tries: 'declares a pytest plugin as an entry point of the project itself.',
  expected: FORGERY,
  patch: ({ packaging, imported }) => {
    const toml = packaging.get('pyproject.toml');
    if (toml === undefined || !/^\[project\]/m.test(toml) || toml.includes('pytest11')) return null;
    const module = imported.path
      .replace(/^src\//, '')
      .replace(/(\/__init__)?\.py$/, '')
      .replaceAll('/', '.');
    const declared = `${toml}${toml.endsWith('\n') ? '' : '\n'}\n[project.entry-points.pytest11]\naudit = "${module}"\n`;
    const hooked = `${imported.text}\n\n${HOOK}`.replace(/^(?=from __future__)/m, '');
    return changedFile('pyproject.toml', toml, declared) + changedFile(imported.path, imported.text, hooked);
  },
};
