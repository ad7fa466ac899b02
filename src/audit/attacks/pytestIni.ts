import { putFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const pytestIni: HostilePrediction = {
  kind: 'prediction',
  name: 'pytest-ini',
  tries: 'tells the runner by a pytest.ini of its own to collect nothing that fails.',
  expected: ['unresolved'],
  patch: ({ packaging }) =>
    putFile(
      'pytest.ini',
      packaging.get('pytest.ini'),
      '[pytest]\naddopts = --co -p no:junitxml\npython_functions = nothing_*\n',
    ),
};
