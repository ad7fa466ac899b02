import { FORGERY, atImport, resultsFile } from '../payloads.ts';

export const resultsAfterEnd = atImport({
  name: 'results-after-end',
  tries: 'leaves a process behind that writes a results file once the runner has ended.',
  expected: FORGERY,
  python: (facts) => `${resultsFile(facts)}
import sys, time
if "_pytest" in sys.modules and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        parent = os.getpgid(1) if False else None
        for _ in range(3000):
            time.sleep(0.01)
            try:
                open("/output/junit.xml", "w").write(text)
            except OSError:
                pass
    os._exit(0)`,
});
