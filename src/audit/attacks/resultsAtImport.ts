import { FORGERY, atImport, resultsFile } from '../payloads.ts';

export const resultsAtImport = atImport({
  name: 'results-at-import',
  tries: 'writes a results file in which everything passes and ends the run with success.',
  expected: FORGERY,
  python: (facts) => `${resultsFile(facts)}
import sys
if "_pytest" in sys.modules:
    open("/output/junit.xml", "w").write(text)
    os._exit(0)`,
});
