import { atImport, pythonList } from '../payloads.ts';

export const printedResults = atImport({
  name: 'printed-results',
  tries: 'prints passing results in the form in which the runner prints them, to every open file.',
  expected: ['unresolved'],
  python: ({ row }) => `
import os
lines = "".join("PASSED " + id + chr(10) for id in ${pythonList([...row.FAIL_TO_PASS, ...row.PASS_TO_PASS])})
lines += "=" * 20 + " 999 passed in 0.01s " + "=" * 20 + chr(10)
for fd in range(1, 32):
    try:
        os.write(fd, lines.encode())
    except OSError:
        pass
`,
});
