import { FORGERY, atImport, forgeReports } from '../payloads.ts';

export const moduleHook = atImport({
  name: 'module-hook',
  tries: 'turns failures into passes from the code under test: text, exit code and results file alike.',
  expected: FORGERY,
  python: forgeReports(),
});
