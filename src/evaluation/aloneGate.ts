/** Lets many work side by side, or one alone: while one waits to be alone, nobody new starts. */
export interface AloneGate {
  shared<T>(work: () => Promise<T>): Promise<T>;
  alone<T>(work: () => Promise<T>): Promise<T>;
  /** How many work at this moment. */
  running(): number;
}

export function createAloneGate(): AloneGate {
  let active = 0;
  /** Ends when the last that asked to be alone has ended. */
  let closed: Promise<void> = Promise.resolve();
  let idle = Promise.withResolvers<void>();

  const enter = async <T>(work: () => Promise<T>): Promise<T> => {
    active += 1;
    try {
      return await work();
    } finally {
      active -= 1;
      if (active === 0) {
        idle.resolve();
        idle = Promise.withResolvers();
      }
    }
  };

  return {
    running: () => active,
    async shared(work) {
      for (let seen: Promise<void> | undefined; seen !== closed;) {
        seen = closed;
        await seen;
      }
      return enter(work);
    },
    async alone(work) {
      const before = closed;
      const mine = Promise.withResolvers<void>();
      closed = mine.promise;
      try {
        await before;
        while (active > 0) await idle.promise;
        return await enter(work);
      } finally {
        mine.resolve();
      }
    },
  };
}
